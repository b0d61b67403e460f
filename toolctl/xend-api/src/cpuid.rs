//! The items of `cpuid` and `cpuid_check`: which bits of CPUID a guest sees, or a host must have.
//!
//! ```text
//!   LEAF[,SUBLEAF]:REG=BITS[,REG=BITS...]    xm:  BITS is 32 of 1 0 x k s, bit 31 first, or 0xHEX
//!   host[,NAME=VALUE...]                     xl:  NAME a feature, VALUE 1 0 x k s
//! ```

/// A register that CPUID fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

/// Bits of one register of one leaf; a bit is in one mask at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// EAX before the instruction.
    pub leaf: u32,
    /// ECX before it; nothing: whatever it is.
    pub subleaf: Option<u32>,
    /// Register.
    pub register: Register,
    /// `1`.
    pub ones: u32,
    /// `0`.
    pub zeros: u32,
    /// `k` and `s`: as the host has it.
    pub hosts: u32,
}

/// What is wrong with an item; the first two in xm's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum CpuidError {
    #[error("cpuid's syntax is (eax|ebx|ecx|edx)=value")]
    Register,
    #[error("cpuid: We should specify all the bits of the register {register} for input {leaf}")]
    Bits { register: String, leaf: String },
    #[error("cpuid: '{0}' of register {1} is none of 1, 0, x, k and s")]
    Bit(char, String),
    #[error("cpuid: '{0}' is no leaf; an item is LEAF[,SUBLEAF]:REGISTER=BITS, such as '1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0'")]
    Leaf(String),
    #[error("cpuid: feature '{0}' is not known; name its bit by '1:ecx=...' and the like")]
    Feature(String),
    #[error("cpuid: '{0}' must be NAME=VALUE, VALUE one of 1, 0, x, k and s")]
    Pair(String),
}

/// Features by their names of xl.cfg(5): leaf, subleaf, register, bit of the first; then names bit by bit, `-` for none.
const NAMES: [(u32, Option<u32>, Register, &str); 6] = [
    (
        1,
        None,
        Register::Ecx,
        "sse3 pclmulqdq dtes64 monitor dscpl vmx smx est tm2 ssse3 cntxid - fma cmpxchg16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tscdeadline aes xsave osxsave avx f16c rdrand hypervisor",
    ),
    (
        1,
        None,
        Register::Edx,
        "fpu vme de pse tsc msr pae mce cmpxchg8 apic - sysenter mtrr pge mca cmov pat pse36 psn clfsh - ds acpi mmx fxsr sse sse2 ss htt tm ia64 pbe",
    ),
    (
        7,
        Some(0),
        Register::Ebx,
        "fsgsbase tsc_adjust - bmi1 hle avx2 - smep bmi2 erms invpcid rtm cmt - mpx - avx512f avx512dq rdseed adx smap avx512-ifma - clflushopt clwb proc-trace avx512pf avx512er avx512cd sha avx512bw avx512vl",
    ),
    (
        7,
        Some(0),
        Register::Ecx,
        "prefetchwt1 avx512-vbmi umip pku ospke - avx512-vbmi2 - - vaes vpclmulqdq avx512-vnni avx512-bitalg - avx512-vpopcntdq",
    ),
    (
        0x8000_0001,
        None,
        Register::Ecx,
        "lahfsahf cmplegacy svm extapic altmovcr8 abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid - tbm topoext perfctr_core perfctr_nb",
    ),
    (
        0x8000_0001,
        None,
        Register::Edx,
        "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - ffxsr page1gb rdtscp - lm 3dnowext 3dnow",
    ),
];

/// All rules of `items`, in their order.
pub fn parse<T: AsRef<str>>(items: &[T]) -> Result<Vec<Rule>, CpuidError> {
    let mut rules = Vec::new();
    for item in items {
        let item: String = item.as_ref().split_whitespace().collect();
        match item.split_once(',') {
            _ if item == "host" => {}
            Some(("host", pairs)) => {
                for pair in pairs.split(',') {
                    rules.push(named(pair)?);
                }
            }
            _ => rules.extend(leaf(&item)?),
        }
    }
    Ok(rules)
}

/// `NAME=VALUE` of xl.
fn named(pair: &str) -> Result<Rule, CpuidError> {
    let wrong = || CpuidError::Pair(shown(pair));
    let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
    let mut value = value.chars();
    let (Some(bit), None) = (value.next(), value.next()) else {
        return Err(wrong());
    };
    let name = name.to_ascii_lowercase();
    let found = NAMES.iter().find_map(|(leaf, subleaf, register, names)| {
        let at = (name != "-").then(|| names.split(' ').position(|other| other == name));
        Some((*leaf, *subleaf, *register, at.flatten()?))
    });
    let (leaf, subleaf, register, at) = found.ok_or_else(|| CpuidError::Feature(shown(&name)))?;
    let mut rule = Rule {
        leaf,
        subleaf,
        register,
        ones: 0,
        zeros: 0,
        hosts: 0,
    };
    match rule.put(bit, 1 << at) {
        true => Ok(rule),
        false => Err(wrong()),
    }
}

/// `LEAF[,SUBLEAF]:REG=BITS[,REG=BITS...]`.
fn leaf(item: &str) -> Result<Vec<Rule>, CpuidError> {
    let no_leaf = || CpuidError::Leaf(shown(item));
    let (input, registers) = item.split_once(':').ok_or_else(no_leaf)?;
    let (leaf, subleaf) = match input.split_once(',') {
        Some((leaf, subleaf)) => (leaf, Some(number(subleaf).ok_or_else(no_leaf)?)),
        None => (input, None),
    };
    let number = number(leaf).ok_or_else(no_leaf)?;
    let rule = |text: &str| {
        let (name, bits) = text.split_once('=').ok_or(CpuidError::Register)?;
        let register = match name {
            "eax" => Register::Eax,
            "ebx" => Register::Ebx,
            "ecx" => Register::Ecx,
            "edx" => Register::Edx,
            _ => return Err(CpuidError::Register),
        };
        let mut rule = Rule {
            leaf: number,
            subleaf,
            register,
            ones: 0,
            zeros: 0,
            hosts: 0,
        };
        let all = || CpuidError::Bits {
            register: name.into(),
            leaf: shown(leaf),
        };
        if let Some(digits) = bits.strip_prefix("0x") {
            let fits = (1..=8).contains(&digits.len());
            rule.ones = u32::from_str_radix(digits, 16)
                .ok()
                .filter(|_| fits && !digits.starts_with('+'))
                .ok_or_else(all)?;
            rule.zeros = !rule.ones;
            return Ok(rule);
        }
        if bits.chars().count() != 32 {
            return Err(all());
        }
        for (at, bit) in bits.chars().rev().enumerate() {
            if !rule.put(bit, 1 << at) {
                return Err(CpuidError::Bit(bit, name.into()));
            }
        }
        Ok(rule)
    };
    registers.split(',').map(rule).collect()
}

impl Rule {
    /// Takes a letter for `bit`; false if it is none.
    fn put(&mut self, letter: char, bit: u32) -> bool {
        match letter {
            '1' => self.ones |= bit,
            '0' => self.zeros |= bit,
            'k' | 's' => self.hosts |= bit,
            'x' => {}
            _ => return false,
        }
        true
    }
}

/// A number as xm takes it: decimal, or hexadecimal behind `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    u32::from_str_radix(digits, radix)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}

/// `text`, made fit for a message.
fn shown(text: &str) -> String {
    text.escape_debug().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(item: &str) -> Rule {
        let rules = parse(&[item]).unwrap();
        assert_eq!(rules.len(), 1, "{item}");
        rules[0]
    }

    fn message(item: &str) -> String {
        parse(&[item]).unwrap_err().to_string()
    }

    #[test]
    fn letters_are_bits_from_the_highest_down() {
        let rule = one("1:ecx=10xxxxxxxxxxxxxxxxxxxxxxxxxxxxks");
        assert_eq!(
            (rule.leaf, rule.subleaf, rule.register),
            (1, None, Register::Ecx)
        );
        assert_eq!((rule.ones, rule.zeros, rule.hosts), (1 << 31, 1 << 30, 3));
    }

    #[test]
    fn leaves_have_subleaves_and_several_registers_and_values_in_hex() {
        let rules = parse(&["0x7,0:ebx=0x10, edx=0xffffffff"]).unwrap();
        let about = |rule: &Rule| {
            (
                rule.leaf,
                rule.subleaf,
                rule.register,
                rule.ones,
                rule.zeros,
            )
        };
        assert_eq!(about(&rules[0]), (7, Some(0), Register::Ebx, 0x10, !0x10));
        assert_eq!(about(&rules[1]), (7, Some(0), Register::Edx, u32::MAX, 0));
        assert_eq!(one("2147483649:edx=0x0").leaf, 0x8000_0001);
    }

    #[test]
    fn features_of_xl_have_their_bits() {
        assert!(parse(&["host"]).unwrap().is_empty());
        let rules = parse(&["host,tm=0,sse3=0,nx=k,avx2=1,3dnow=x,sse4_2=s"]).unwrap();
        let bits = rules
            .iter()
            .map(|rule| (rule.ones | rule.zeros | rule.hosts).trailing_zeros());
        assert_eq!(bits.collect::<Vec<_>>(), [29, 0, 20, 5, 32, 20]);
        assert_eq!((rules[3].leaf, rules[3].subleaf), (7, Some(0)));
        for (_, _, _, names) in NAMES {
            assert!(names.split(' ').count() <= 32);
        }
        let (_, _, register, names) = NAMES[0];
        assert_eq!(
            (register, names.split(' ').next_back()),
            (Register::Ecx, Some("hypervisor"))
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_xms_words() {
        assert_eq!(
            message("1:ecx=01"),
            "cpuid: We should specify all the bits of the register ecx for input 1"
        );
        assert_eq!(
            message("1:esi=0x1"),
            "cpuid's syntax is (eax|ebx|ecx|edx)=value"
        );
        assert_eq!(
            message("1:eax"),
            "cpuid's syntax is (eax|ebx|ecx|edx)=value"
        );
        assert!(message("1:eax=0x123456789").contains("all the bits"));
        assert!(message("1:eax=0x+1").contains("all the bits"));
        assert!(message(&format!("1:eax={}", "y".repeat(32))).contains("'y' of register eax"));
        for item in ["", "eax=1", "z:eax=0x1", "1,:eax=0x1", "+1:eax=0x1"] {
            assert!(message(item).contains("is no leaf"), "{item}");
        }
        assert!(message("host,unheard=1").contains("'unheard' is not known"));
        assert!(message("host,-=1").contains("'-' is not known"));
        for pair in [
            "host,",
            "host,sse3",
            "host,sse3=2",
            "host,sse3=10",
            "host,sse3=",
        ] {
            assert!(message(pair).contains("NAME=VALUE"), "{pair}");
        }
    }
}
