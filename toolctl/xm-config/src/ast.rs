//! The parsed program.
//!
//! Only what the evaluator runs is represented; other statements are refused by the parser, which can name them.

use crate::error::Pos;

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
    /// `pass`.
    Pass,
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
    /// `f(a, b)`: only plain positional arguments.
    Call(Box<Expr>, Vec<Expr>),
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
