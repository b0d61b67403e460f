use crate::perms::Identity;
use crate::quota::Quota;
use crate::store::{Effect, Request, Store, Transaction};
use crate::{Access, Errno, Perms};

const DOM0: Identity = Identity::DOM0;

/// One operation in the name of `who`, in or out of a transaction.
fn ask<'a>(store: &'a mut Store, tx: Option<&'a mut Transaction>, who: Identity) -> Request<'a> {
    let quota = if who.is_privileged() {
        &Quota::PRIVILEGED
    } else {
        &Quota::GUEST
    };
    Request {
        store,
        tx,
        who,
        quota,
    }
}

fn write(store: &mut Store, path: &str, value: &str) {
    ask(store, None, DOM0)
        .write(path, value.as_bytes())
        .unwrap();
}

fn read(store: &mut Store, path: &str) -> Result<String, Errno> {
    ask(store, None, DOM0)
        .read(path)
        .map(|v| String::from_utf8_lossy(v).into_owned())
}

/// A store where domain 5 has a home of its own.
fn with_home() -> Store {
    let mut store = Store::new();
    write(&mut store, "/local/domain/5", "");
    let own = Perms::owned_by(5, Access::NONE);
    ask(&mut store, None, DOM0)
        .set_perms("/local/domain/5", own)
        .unwrap();
    store
}

const GUEST: Identity = Identity::guest(5);

#[test]
fn permissions_matrix_of_every_operation() {
    // Owner 5; domain 6 reads, 7 writes, 8 both, 9 nothing; 10 is not listed.
    let perms: Vec<&[u8]> = vec![b"n5", b"r6", b"w7", b"b8", b"n9"];
    let (no, ok) = (Err(Errno::EACCES), Ok(()));
    let rows = [
        // domid, read, write, list, mkdir below, set-perms, remove
        (0, [ok, ok, ok, ok, ok, ok]),
        (5, [ok, ok, ok, ok, ok, ok]),
        (6, [ok, no, ok, no, no, no]),
        (7, [no, ok, no, ok, no, ok]),
        (8, [ok, ok, ok, ok, no, ok]),
        (9, [no, no, no, no, no, no]),
        (10, [no, no, no, no, no, no]),
    ];
    for (domid, want) in rows {
        let mut base = Store::new();
        write(&mut base, "/d/n", "v");
        let list = Perms::parse(perms.iter().copied()).unwrap();
        ask(&mut base, None, DOM0)
            .set_perms("/d/n", list.clone())
            .unwrap();
        let who = Identity::guest(domid);
        let fresh = || base.clone();
        let got = [
            ask(&mut fresh(), None, who).read("/d/n").map(drop),
            ask(&mut fresh(), None, who).write("/d/n", b"x").map(drop),
            ask(&mut fresh(), None, who).directory("/d/n").map(drop),
            ask(&mut fresh(), None, who).mkdir("/d/n/sub").map(drop),
            ask(&mut fresh(), None, who)
                .set_perms("/d/n", list.clone())
                .map(drop),
            ask(&mut fresh(), None, who).rm("/d/n").map(drop),
        ];
        assert_eq!(got, want, "domain {domid}");
    }
}

#[test]
fn missing_node_shows_only_to_whom_the_ancestor_lets_in() {
    let mut store = with_home();
    let r = |s: &mut Store, who, p: &str| ask(s, None, who).read(p).map(drop);
    assert_eq!(
        r(&mut store, GUEST, "/local/domain/5/nope/deep"),
        Err(Errno::ENOENT)
    );
    assert_eq!(r(&mut store, GUEST, "/nope"), Err(Errno::EACCES));
    assert_eq!(
        r(&mut store, Identity::guest(6), "/local/domain/5/nope"),
        Err(Errno::EACCES)
    );
    assert_eq!(r(&mut store, DOM0, "/nope"), Err(Errno::ENOENT));
}

#[test]
fn new_nodes_inherit_and_a_guests_are_its_own() {
    let mut store = Store::new();
    write(&mut store, "/shared", "");
    let perms = Perms::parse([&b"n0"[..], b"b5", b"r6"].into_iter()).unwrap();
    ask(&mut store, None, DOM0)
        .set_perms("/shared", perms.clone())
        .unwrap();
    write(&mut store, "/shared/by0/deep", "");
    assert_eq!(store.live().get("/shared/by0").unwrap().perms, perms);
    ask(&mut store, None, GUEST)
        .write("/shared/by5/deep", b"")
        .unwrap();
    for path in ["/shared/by5", "/shared/by5/deep"] {
        assert_eq!(
            store.live().get(path).unwrap().perms,
            perms.with_owner(5),
            "{path}"
        );
    }
    assert_eq!(store.holdings().of(5), 2);
}

#[test]
fn guest_cannot_give_its_node_away_nor_list_too_many() {
    let mut store = with_home();
    let give = Perms::owned_by(6, Access::NONE);
    assert_eq!(
        ask(&mut store, None, GUEST)
            .set_perms("/local/domain/5", give)
            .err(),
        Some(Errno::EPERM)
    );
    let many: Vec<String> = (5..11).map(|d| format!("r{d}")).collect();
    let many = Perms::parse(many.iter().map(|s| s.as_bytes())).unwrap();
    assert_eq!(
        ask(&mut store, None, GUEST)
            .set_perms("/local/domain/5", many)
            .err(),
        Some(Errno::ENOSPC)
    );
}

#[test]
fn node_quota_holds_in_and_out_of_transactions() {
    let mut store = with_home();
    let room = Quota::GUEST.nodes as usize - 1;
    for i in 0..room {
        ask(&mut store, None, GUEST)
            .mkdir(&format!("/local/domain/5/n{i}"))
            .unwrap();
    }
    assert_eq!(
        ask(&mut store, None, GUEST)
            .mkdir("/local/domain/5/more")
            .err(),
        Some(Errno::ENOSPC)
    );
    let mut tx = store.begin();
    assert_eq!(
        ask(&mut store, Some(&mut tx), GUEST)
            .mkdir("/local/domain/5/more")
            .err(),
        Some(Errno::ENOSPC)
    );
    ask(&mut store, Some(&mut tx), GUEST)
        .rm("/local/domain/5/n0")
        .unwrap();
    ask(&mut store, Some(&mut tx), GUEST)
        .mkdir("/local/domain/5/more")
        .unwrap();
    store.commit(tx, GUEST, &Quota::GUEST).unwrap();
    assert_eq!(store.holdings().of(5), i64::from(Quota::GUEST.nodes));
    // Domain 0 may go on where the guest may not.
    ask(&mut store, None, DOM0)
        .mkdir("/local/domain/5/from0")
        .unwrap();
    store.check().unwrap();
}

#[test]
fn two_transactions_together_cannot_exceed_the_quota() {
    let mut store = with_home();
    let mut txs = [store.begin(), store.begin()];
    for (t, tx) in txs.iter_mut().enumerate() {
        for i in 0..600 {
            ask(&mut store, Some(tx), GUEST)
                .mkdir(&format!("/local/domain/5/t{t}-{i}"))
                .unwrap();
        }
    }
    let [a, b] = txs;
    store.commit(a, GUEST, &Quota::GUEST).unwrap();
    assert_eq!(
        store.commit(b, GUEST, &Quota::GUEST).err(),
        Some(Errno::ENOSPC)
    );
    store.check().unwrap();
}

#[test]
fn value_quota_refuses_one_byte_too_many() {
    let mut store = with_home();
    let ok = vec![b'x'; 2048];
    ask(&mut store, None, GUEST)
        .write("/local/domain/5/v", &ok)
        .unwrap();
    let long = vec![b'x'; 2049];
    assert_eq!(
        ask(&mut store, None, GUEST)
            .write("/local/domain/5/v", &long)
            .err(),
        Some(Errno::ENOSPC)
    );
    ask(&mut store, None, DOM0)
        .write("/local/domain/5/v", &long)
        .unwrap();
}

#[test]
fn transaction_that_touches_too_many_nodes_is_stopped() {
    let mut store = with_home();
    let mut tx = store.begin();
    let last = (0..3000)
        .map(|i| {
            ask(&mut store, Some(&mut tx), GUEST)
                .read(&format!("/local/domain/5/x{i}"))
                .map(drop)
        })
        .last();
    assert_eq!(last, Some(Err(Errno::ENOSPC)));
    assert!(tx.touched_paths() <= Quota::GUEST.transaction_nodes as usize);
}

#[test]
fn transaction_that_gathers_too_many_bytes_is_stopped() {
    let mut store = with_home();
    let mut tx = store.begin();
    let value = [b'x'; 2048];
    let mut taken = 0;
    while ask(&mut store, Some(&mut tx), GUEST)
        .write("/local/domain/5/v", &value)
        .is_ok()
    {
        taken += value.len();
    }
    let limit = Quota::GUEST.transaction_bytes as usize;
    assert!(
        (limit - 8192..=limit).contains(&taken),
        "{taken} bytes taken"
    );
    let refused = ask(&mut store, Some(&mut tx), GUEST).write("/local/domain/5/v", &value);
    assert_eq!(refused.err(), Some(Errno::ENOSPC));
    store.commit(tx, GUEST, &Quota::GUEST).unwrap();
}

/// Runs `inside` in a transaction and `meanwhile` beside it, then commits.
fn race(
    prepare: &[&str],
    inside: impl Fn(&mut Request<'_>),
    meanwhile: impl Fn(&mut Store),
) -> Result<Store, Errno> {
    let mut store = Store::new();
    for path in prepare {
        write(&mut store, path, "0");
    }
    let mut tx = store.begin();
    inside(&mut ask(&mut store, Some(&mut tx), DOM0));
    meanwhile(&mut store);
    let done = store.commit(tx, DOM0, &Quota::PRIVILEGED);
    store.check().unwrap();
    done.map(|_| store)
}

#[test]
fn commit_meets_or_coalesces_by_path() {
    type Inside = fn(&mut Request<'_>);
    type Meanwhile = fn(&mut Store);
    let w: Meanwhile = |s| write(s, "/p/two", "2");
    let rm: Meanwhile = |s| {
        ask(s, None, DOM0).rm("/p").unwrap();
    };
    let cases: &[(&str, Inside, Meanwhile, bool)] = &[
        (
            "write beside write",
            |r| {
                r.write("/p/one", b"1").unwrap();
            },
            w,
            true,
        ),
        (
            "write on write",
            |r| {
                r.write("/p/two", b"1").unwrap();
            },
            w,
            false,
        ),
        (
            "read of written",
            |r| {
                r.read("/p/two").unwrap();
            },
            w,
            false,
        ),
        (
            "read of parent of written",
            |r| {
                r.read("/p").unwrap();
            },
            w,
            true,
        ),
        (
            "list of parent of written",
            |r| {
                r.directory("/p").unwrap();
            },
            w,
            true,
        ),
        (
            "list of parent of made",
            |r| {
                r.directory("/p").unwrap();
            },
            |s| write(s, "/p/new", ""),
            false,
        ),
        (
            "read of missing, made",
            |r| {
                r.read("/p/new").unwrap_err();
            },
            |s| write(s, "/p/new", ""),
            false,
        ),
        (
            "made beside made",
            |r| {
                r.write("/p/a/b", b"").unwrap();
            },
            |s| write(s, "/p/c", ""),
            true,
        ),
        (
            "same ancestor made",
            |r| {
                r.write("/p/a/b", b"").unwrap();
            },
            |s| write(s, "/p/a/c", ""),
            false,
        ),
        (
            "removed, written below",
            |r| {
                r.rm("/p").unwrap();
            },
            w,
            false,
        ),
        (
            "removed, written beside",
            |r| {
                r.rm("/p/one").unwrap();
            },
            w,
            true,
        ),
        (
            "written, parent removed",
            |r| {
                r.write("/p/one", b"1").unwrap();
            },
            rm,
            false,
        ),
        (
            "made, parent removed",
            |r| {
                r.write("/p/new", b"1").unwrap();
            },
            rm,
            false,
        ),
        (
            "perms set beside write",
            |r| {
                r.set_perms("/p/one", Perms::owned_by(3, Access::READ))
                    .unwrap();
            },
            w,
            true,
        ),
        (
            "replaced beside write",
            |r| {
                r.rm("/q").unwrap();
                r.write("/q/new", b"").unwrap();
            },
            w,
            true,
        ),
        ("untouched", |_| {}, w, true),
    ];
    for (name, inside, meanwhile, want) in cases {
        let done = race(&["/p/one", "/p/two", "/q/old"], inside, meanwhile);
        assert_eq!(
            done.as_ref().err().copied(),
            (!want).then_some(Errno::EAGAIN),
            "{name}"
        );
    }
}

#[test]
fn coalesced_commit_keeps_both_sides() {
    let inside = |r: &mut Request<'_>| {
        r.write("/p/one", b"tx").unwrap();
        r.write("/p/new/deep", b"tx").unwrap();
        r.rm("/q").unwrap();
        r.write("/q/fresh", b"tx").unwrap();
    };
    let mut s = race(&["/p/one", "/q/old", "/z"], inside, |s| {
        write(s, "/p/other", "live")
    })
    .unwrap();
    let want = [
        ("/p/one", "tx"),
        ("/p/new/deep", "tx"),
        ("/q/fresh", "tx"),
        ("/p/other", "live"),
        ("/z", "0"),
    ];
    for (path, value) in want {
        assert_eq!(read(&mut s, path).as_deref(), Ok(value), "{path}");
    }
    assert_eq!(read(&mut s, "/q/old"), Err(Errno::ENOENT));
}

#[test]
fn transaction_sees_the_past_and_its_own_writes_only() {
    let mut store = Store::new();
    write(&mut store, "/a", "then");
    let mut tx = store.begin();
    write(&mut store, "/a", "now");
    ask(&mut store, Some(&mut tx), DOM0)
        .write("/b", b"mine")
        .unwrap();
    assert_eq!(
        ask(&mut store, Some(&mut tx), DOM0).read("/a").unwrap(),
        b"then"
    );
    assert_eq!(
        ask(&mut store, Some(&mut tx), DOM0).read("/b").unwrap(),
        b"mine"
    );
    assert_eq!(read(&mut store, "/b"), Err(Errno::ENOENT));
}

#[test]
fn commit_tells_each_path_once() {
    let mut store = Store::new();
    write(&mut store, "/old/child", "");
    let mut tx = store.begin();
    for i in 0..100 {
        ask(&mut store, Some(&mut tx), DOM0)
            .write("/n", format!("{i}").as_bytes())
            .unwrap();
        ask(&mut store, Some(&mut tx), DOM0)
            .write("/temp", b"")
            .unwrap();
        ask(&mut store, Some(&mut tx), DOM0).rm("/temp").unwrap();
    }
    ask(&mut store, Some(&mut tx), DOM0).rm("/old").unwrap();
    let told = store.commit(tx, DOM0, &Quota::PRIVILEGED).unwrap();
    let names: Vec<_> = told
        .iter()
        .map(|(p, e)| (&**p, matches!(e, Effect::Removed(_))))
        .collect();
    assert_eq!(names, [("/n", false), ("/temp", false), ("/old", true)]);
}

#[test]
fn forget_domain_removes_its_nodes_and_its_rights() {
    let mut store = with_home();
    ask(&mut store, None, GUEST)
        .write("/local/domain/5/a/b", b"")
        .unwrap();
    write(&mut store, "/tool/x", "");
    let listed = Perms::parse([&b"n0"[..], b"r5", b"r6"].into_iter()).unwrap();
    ask(&mut store, None, DOM0)
        .set_perms("/tool/x", listed)
        .unwrap();
    let gone = store.forget_domain(5);
    assert_eq!(
        gone.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(),
        ["/local/domain/5"]
    );
    assert_eq!(store.holdings().of(5), 0);
    assert_eq!(
        store.live().get("/tool/x").unwrap().perms.entries().len(),
        2
    );
    store.check().unwrap();
}
