//! Mutated configurations: whatever the bytes, an answer comes back, in bounded time and without a panic.

use noxen_xm_config::{domain_config, from_sxp, load_source, sxp, to_sxp, Limits, Options};
use std::time::{Duration, Instant};

const PROGRAMS: &[&str] = &[
    "kernel = \"/boot/vmlinuz\"\nmemory = 64 + 32 * int(vmid)\nname = 'VM%02d' % int(vmid)\ndisk = [ 'phy:vg/t%s,xvda1,w' % vmid,\n  'file:/a,xvdb,r' ]\n",
    "x = {'a': [1, 2L, 0x10, 0777, 1.5e3], 'b': (u'u', r'\\r', None, True)}\nvcpus = x['a'][0] if x['b'][2] is None else 2\n",
    "a, (b, c) = 1, [2, 3]\na += b << c ** 2 // 3 % 5 & 6 | 7 ^ ~8\nvif = ['mac=00:16:3e:00:00:01, bridge=x'] * 2\nfull-screen=1\n",
    "s = '''t\n\"q\"''' \"x\" 'y'\nextra = s[1:-1:2] + '%-5s|%05.2f|%#x' % ('a', 1.5, 255)\nmemory = max(1, 2, len(s)) \\\n + 1 ; pass\n",
    "l = [[[[[[]]]]]]\nl[0] = l\nd = {}\nd[l == l] = not l and 1 < 2 <= 3 != 4 or 'a' in 'abc'\npci = ['01:00.0,msitranslate=1']\n",
    "r = range(10, 0, -3)\nvfb = ['type=vnc,vncdisplay=%d' % (r[0] * 10 ** 3)]\nd = repr(r) + str(1.0 / 3) + hex(255) + oct(8)\n",
];

/// The same with control flow, functions, methods and modules.
const FLOWS: &[&str] = &[
    "import os, re\narch = os.uname()[4]\nif re.search('64', arch): lib = 'lib64'\nelse:\n    lib = 'lib'\nkernel = '/usr/%s/k' % lib\n",
    "def f(a, b=[1]):\n    try:\n        return a[b]\n    except (KeyError, TypeError), e:\n        return '%s' % e\n    finally:\n        b.append(a)\nextra = f({}, [f([], [])])\n",
    "disk = []\nfor i, d in enumerate('abc'):\n    if i > 1: continue\n    disk.append('phy:%s,xvd%s,w' % (d.upper(), d))\nelse:\n    print disk,\nwhile disk:\n    disk.pop()\n    break\n",
    "xm_vars.var('vmid', check=lambda n, v: int(v))\nxm_vars.check()\nname = '-'.join(['vm', str(vmid).zfill(3)]).replace('-', '_', 1)\nvcpus = len([i for i in range(3) if i % 2 == 1])\n",
    "d = dict(zip('ab', map(lambda x: x * 2, [1, 2])))\nd.update({'c': d.get('z', 3)})\nmemory = sum(d.values()) + reduce(lambda a, b: a + b, sorted(d.values()))\nassert memory > 0, 'm'\ndel d['a']\n",
];

const EXPRESSIONS: &[&str] = &[
    "(vm (name t) (memory 64) (vcpus 2) (cpus (0 1)) (image (linux (kernel /k) (ip ':127.0.255.255::::eth0:dhcp') (args 'a b'))) (device (vbd (uname phy:a) (dev xvda) (mode w))) (device (vif (mac 00:16:3e:00:00:01))))",
    "(vm (name \"q\\x41\\101\\n\") # comment\n (device (pci (dev (domain 0x0) (bus 0x4) (slot 0x2) (func 0x0) (opts ((msitranslate 1)))))) (security ((access_control (policy p) (label l)))))",
];

/// A small generator: the run is the same every time.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "'''",
    "\\",
    "\n",
    "\t",
    "%",
    "%(",
    "**",
    "<<",
    "9999999999999999999",
    "0x",
    "1e308",
    "-",
    "not ",
    " if ",
    " else ",
    "lambda",
    "u'",
    "\\x",
    "\u{0}",
    "é",
    "=",
    ",",
    ":",
    "#",
    "*",
    "1L",
    ".",
    "None",
    "range(",
    "[0]",
    "repr(",
    "def f():\n",
    " in ",
    "%*d",
    "%99999d",
    "'a' * 99999999",
    "((((((((((((((((((((",
    "[[[[[[[[[[[[[[[[[[[[[[",
];

fn mutate(rng: &mut Rng, seeds: &[&str]) -> String {
    let mut text: Vec<char> = seeds[rng.next(seeds.len())].chars().collect();
    for _ in 0..1 + rng.next(6) {
        let at = rng.next(text.len() + 1);
        match rng.next(5) {
            0 if !text.is_empty() => {
                let end = (at + 1 + rng.next(8)).min(text.len());
                text.drain(at.min(end)..end);
            }
            1 => {
                let other: Vec<char> = seeds[rng.next(seeds.len())].chars().collect();
                let from = rng.next(other.len());
                let end = (from + rng.next(30)).min(other.len());
                text.splice(at..at, other[from..end].iter().copied());
            }
            2 if at < text.len() => {
                text[at] = char::from(rng.next(128) as u8);
            }
            _ => {
                text.splice(at..at, PIECES[rng.next(PIECES.len())].chars());
            }
        }
    }
    text.into_iter().collect()
}

/// Runs `check` on mutations for two seconds; returns how many and how many were accepted.
fn run(seeds: &[&str], seed: u64, check: impl Fn(&str) -> bool) -> (usize, usize) {
    let mut rng = Rng(seed);
    let start = Instant::now();
    let (mut tried, mut accepted) = (0, 0);
    while start.elapsed() < Duration::from_secs(2) {
        let text = mutate(&mut rng, seeds);
        let one = Instant::now();
        accepted += usize::from(check(&text));
        assert!(
            one.elapsed() < Duration::from_secs(10),
            "took too long: {text:?}"
        );
        tried += 1;
    }
    (tried, accepted)
}

#[test]
fn mutated_assignments_are_answered_without_a_panic() {
    programs(PROGRAMS, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn mutated_control_flow_is_answered_without_a_panic() {
    programs(FLOWS, 0x6a09_e667_f3bc_c909);
}

fn programs(seeds: &[&str], start: u64) {
    let words = ["vmid=3".to_owned()];
    let options = Options {
        lenient: true,
        ..Options::default()
    };
    for seed in seeds {
        load_source(seed, "f", &words, &options)
            .unwrap_or_else(|e| panic!("{seed}: {}", e.render()));
    }
    let (tried, accepted) = run(seeds, start, |text| {
        match load_source(text, "f", &words, &options) {
            Ok(loaded) => {
                if let Ok(config) = domain_config(&loaded.settings) {
                    let _ = to_sxp(&config).map(|node| node.pretty());
                }
                true
            }
            Err(error) => {
                assert!(!error.render().is_empty());
                assert!(!error.to_string().contains('\u{0}'), "{text:?}");
                false
            }
        }
    });
    // Both ways must be walked, or the test looks at nothing.
    assert!(
        tried > 100 && accepted > 0 && accepted < tried,
        "{tried} {accepted}"
    );
}

#[test]
fn mutated_expression_is_answered_and_prints_back() {
    let limits = Limits::default();
    let (tried, accepted) = run(EXPRESSIONS, 0x2545f4914f6cdd1d, |text| {
        let Ok(node) = sxp::parse(text, &limits) else {
            return false;
        };
        // Empty texts print as nothing, so only a second reading must be stable.
        let once = sxp::parse(&node.pretty(), &limits).expect("what we print we read");
        assert_eq!(
            once.pretty(),
            sxp::parse(&once.pretty(), &limits).unwrap().pretty()
        );
        let _ = from_sxp(&node).and_then(|config| to_sxp(&config));
        true
    });
    assert!(
        tried > 100 && accepted > 0 && accepted < tried,
        "{tried} {accepted}"
    );
}

#[test]
fn deepest_allowed_nesting_fits_the_stack() {
    let nest = |open: &str, close: &str, n: usize| {
        format!(
            "memory = 1\nx = {}1{}\ny = '%s' % (x == x)\n",
            open.repeat(n),
            close.repeat(n)
        )
    };
    let options = Options {
        lenient: true,
        ..Options::default()
    };
    for (open, close) in [
        ("[", "]"),
        ("(", ",)"),
        ("{1: ", "}"),
        ("-(", ")"),
        ("1 + 2 * 0 ** (", ")"),
        ("int(", ")"),
    ] {
        let deepest = (1..200)
            .rev()
            .find(|&n| load_source(&nest(open, close, n), "f", &[], &options).is_ok())
            .expect("some depth is allowed");
        assert!((20..200).contains(&deepest), "{open}: {deepest}");
    }
}
