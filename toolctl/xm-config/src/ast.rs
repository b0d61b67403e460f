//! The parsed program.
//!
//! Only what the evaluator runs is represented; other statements are refused by the parser, which can name them.

use crate::error::Pos;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Its statements.
    pub body: Vec<Stmt>,
    /// Names that some expression reads, whether it is ever run or not.
    pub reads: BTreeSet<String>,
    /// Names bound by other means than an assignment: loops, imports, definitions, handlers.
    pub bound: BTreeSet<String>,
}

/// A statement and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// Where.
    pub at: Pos,
    /// What.
    pub kind: StmtKind,
}

/// Statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `a = b = value`: targets from left to right.
    Assign(Vec<Target>, Expr),
    /// `a += value`.
    Augmented(Target, BinOp, Expr),
    /// A bare expression, such as a doc string.
    Expr(Expr),
    /// `pass`, and `global` outside of functions.
    Pass,
    /// `if`/`elif` branches in order, then `else`.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    /// `while test: ... else: ...`.
    While(Expr, Vec<Stmt>, Vec<Stmt>),
    /// `for target in values: ... else: ...`.
    For(Target, Expr, Vec<Stmt>, Vec<Stmt>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `def`.
    Def(Rc<Function>),
    /// `return`.
    Return(Option<Expr>),
    /// `print`: where to (`>>`), values, whether the line ends.
    Print(Option<Expr>, Vec<Expr>, bool),
    /// `import a.b as c`: module, name bound.
    Import(Vec<(String, String)>),
    /// `from a import b as c`: module, then name and name bound; `*` as itself.
    FromImport(String, Vec<(String, String)>),
    /// `raise`, `raise class, value`.
    Raise(Option<Expr>, Option<Expr>),
    /// `try`.
    Try(Box<Try>),
    /// `del`.
    Del(Vec<Target>),
    /// `global`.
    Global(Vec<String>),
    /// `assert`.
    Assert(Expr, Option<Expr>),
}

/// `try: body except ..: .. else: .. finally: ..`.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// What is tried.
    pub body: Vec<Stmt>,
    /// Classes caught (none: all), where the exception goes, what is done.
    pub handlers: Vec<(Option<Expr>, Option<Target>, Vec<Stmt>)>,
    /// Done when nothing was raised.
    pub otherwise: Vec<Stmt>,
    /// Done in any case.
    pub finally: Vec<Stmt>,
}

/// A function's or lambda's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name; `<lambda>` without one.
    pub name: String,
    /// Parameters and their defaults.
    pub parameters: Vec<(String, Option<Expr>)>,
    /// What it does.
    pub body: Vec<Stmt>,
    /// Names that it takes from the globals by `global`.
    pub globals: BTreeSet<String>,
}

/// What can stand left of `=`.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A variable.
    Name(String, Pos),
    /// `full-screen = 1` and other hyphenated names that configs carry though Python has no such names.
    Hyphenated(String, Pos),
    /// `a, b = ...`, with or without brackets.
    Unpack(Vec<Target>, Pos),
    /// `object[index] = ...`.
    Item(Box<Expr>, Box<Expr>, Pos),
}

/// An expression and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Where; for operators the place of the sign.
    pub at: Pos,
    /// What.
    pub kind: ExprKind,
}

/// Expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// Number that fits a Python 2 `int`, or a long one.
    Int(i128, bool),
    /// Float.
    Float(f64),
    /// String, adjacent literals joined; true when any of them was `u'...'`.
    Str(String, bool),
    /// Variable, `True`, `False`, `None`.
    Name(String),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `a, b` and `()`.
    Tuple(Vec<Expr>),
    /// `{k: v}`.
    Dict(Vec<(Expr, Expr)>),
    /// `a + b - c`: operators of one strength, applied from left to right. Flat, so that a long chain is no deep tree.
    Binary(Box<Expr>, Vec<(BinOp, Pos, Expr)>),
    /// `-a`.
    Unary(UnaryOp, Box<Expr>),
    /// `a and b and c`; true for `and`, false for `or`.
    Bool(bool, Vec<Expr>),
    /// `a < b <= c`.
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    /// `a if test else b`: test, a, b.
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `a[i]`.
    Item(Box<Expr>, Box<Expr>),
    /// `a[i:j:k]`.
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    /// `f(a, b, name=c)`.
    Call(Box<Expr>, Vec<Expr>, Vec<(String, Expr)>),
    /// `a.name`.
    Attribute(Box<Expr>, String),
    /// `[value for target in values if test]`.
    Comprehension(Box<Expr>, Vec<Clause>),
    /// `lambda`.
    Lambda(Rc<Function>),
}

/// A part of a comprehension.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// `for target in values`.
    For(Target, Expr),
    /// `if test`.
    If(Expr),
}

/// Arithmetic and bit operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    Shl,
    Shr,
    And,
    Or,
    Xor,
}

impl BinOp {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            BinOp::Add => "+",
            BinOp::Sub => "-",
            BinOp::Mul => "*",
            BinOp::Div => "/",
            BinOp::FloorDiv => "//",
            BinOp::Mod => "%",
            BinOp::Pow => "** or pow()",
            BinOp::Shl => "<<",
            BinOp::Shr => ">>",
            BinOp::And => "&",
            BinOp::Or => "|",
            BinOp::Xor => "^",
        }
    }
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnaryOp {
    Neg,
    Pos,
    Invert,
    Not,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Is,
    IsNot,
}
