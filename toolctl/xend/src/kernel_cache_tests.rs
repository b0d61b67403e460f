use super::*;
use crate::testing::TempDir;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// A cache and a place for kernel files.
struct Cache {
    place: TempDir,
}

impl Cache {
    fn new() -> Cache {
        Cache {
            place: TempDir::new("kernels"),
        }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    /// A kernel file that did not change in the running tick.
    fn kernel(&self, name: &str, text: &str) -> File {
        let path = self.place.path().join(name);
        fs::write(&path, text).unwrap();
        let file = File::open(path).unwrap();
        while !is_settled(
            &fstat(&file).unwrap(),
            clock_gettime(ClockId::RealtimeCoarse),
        ) {
            std::thread::yield_now();
        }
        file
    }

    fn look(&self, kernel: &File) -> Kernel {
        look(&self.directory(), kernel, false).unwrap()
    }

    /// A miss of `kernel`, whose file noxen-vmm fills with an ELF of `size` bytes.
    fn unpacked(&self, kernel: &File, size: u64) -> Entry {
        filled(self.look(kernel), size)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn filled(kernel: Kernel, size: u64) -> Entry {
    let Kernel::New(mut entry) = kernel else {
        panic!("not a new kernel");
    };
    entry.file.write_all(&ELF_MAGIC).unwrap();
    entry.file.set_len(size).unwrap();
    entry
}

fn content(kernel: Kernel) -> Vec<u8> {
    let Kernel::Cached(file) = kernel else {
        panic!("not cached");
    };
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn name(file: &File) -> String {
    name_of(&fstat(file).unwrap())
}

#[test]
fn kernel_kept_is_found_by_the_next_domain() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    assert!(cache.unpacked(&kernel, 6).keep().unwrap());
    assert_eq!(content(cache.look(&kernel)), b"\x7fELF\0\0");
    assert_eq!(cache.names(), [name(&kernel)]);
    let directory = fs::metadata(cache.directory()).unwrap();
    assert_eq!(directory.mode() & 0o7777, 0o700);
}

#[test]
fn kernel_kept_twice_at_once_is_one_file() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    let (first, second) = (cache.unpacked(&kernel, 6), cache.unpacked(&kernel, 7));
    assert!(first.keep().unwrap());
    assert!(!second.keep().unwrap());
    assert_eq!(content(cache.look(&kernel)).len(), 6);
}

#[test]
fn name_follows_the_file_and_not_its_path() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "one");
    let first = name(&kernel);
    fs::rename(cache.place.path().join("k"), cache.place.path().join("l")).unwrap();
    let renamed = name(&kernel);
    // Renaming changes the ctime of the file, and with it the name; reading does not.
    fs::read(cache.place.path().join("l")).unwrap();
    assert_eq!(name(&kernel), renamed);
    assert!(is_name(&first) && is_name(&renamed), "{first} {renamed}");
    let same_text = cache.kernel("k", "one");
    assert_ne!(name(&same_text), renamed);
}

#[test]
fn name_differs_in_each_of_its_parts() {
    let cache = Cache::new();
    let about = fstat(cache.kernel("k", "one")).unwrap();
    let changes: [fn(&mut Stat); 7] = [
        |s| s.st_dev += 1,
        |s| s.st_ino += 1,
        |s| s.st_size += 1,
        |s| s.st_mtime += 1,
        |s| s.st_mtime_nsec ^= 1,
        |s| s.st_ctime += 1,
        |s| s.st_ctime_nsec ^= 1,
    ];
    for (part, change) in changes.iter().enumerate() {
        let mut other = about;
        change(&mut other);
        assert_ne!(name_of(&other), name_of(&about), "part {part}");
    }
}

#[test]
fn kernel_that_changed_in_the_running_tick_is_not_cached() {
    let cache = Cache::new();
    let about = fstat(cache.kernel("k", "one")).unwrap();
    let tick = |tv_nsec| Timespec {
        tv_sec: about.st_ctime,
        tv_nsec,
    };
    assert!(!is_settled(&about, tick(about.st_ctime_nsec as i64)));
    assert!(is_settled(&about, tick(about.st_ctime_nsec as i64 + 1)));
}

#[test]
fn nothing_unpacked_and_no_kernel_are_not_kept() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "plain");
    let Kernel::New(empty) = cache.look(&kernel) else {
        panic!()
    };
    assert!(!empty.keep().unwrap());
    let Kernel::New(zeros) = cache.look(&kernel) else {
        panic!()
    };
    zeros.file.set_len(4096).unwrap();
    assert!(!zeros.keep().unwrap());
    assert!(!cache.unpacked(&kernel, MAX_BYTES + 1).keep().unwrap());
    assert!(cache.names().is_empty());
}

#[test]
fn ninth_kernel_takes_the_place_of_the_least_recently_used() {
    let cache = Cache::new();
    let mut kernels = Vec::new();
    for n in 0..MAX_KERNELS as u64 {
        let kernel = cache.kernel(&format!("k{n}"), "packed");
        assert!(cache.unpacked(&kernel, 6).keep().unwrap());
        aged(&cache, &kernel, 100 - n);
        kernels.push(kernel);
    }
    // The oldest is used once more, so the second oldest goes.
    assert!(cache.look(&kernels[0]).is_cached());
    fs::write(cache.directory().join("README"), "not a kernel").unwrap();
    let ninth = cache.kernel("k9", "packed");
    assert!(cache.unpacked(&ninth, 6).keep().unwrap());
    assert!(cache.look(&ninth).is_cached());
    for (n, kernel) in kernels.iter().enumerate() {
        assert_eq!(cache.look(kernel).is_cached(), n != 1, "kernel {n}");
    }
    assert!(cache.directory().join("README").exists());
}

#[test]
fn kernels_beyond_the_limit_of_bytes_go_oldest_first() {
    let cache = Cache::new();
    let mut kernels = Vec::new();
    for (n, size) in [MAX_BYTES / 4, MAX_BYTES / 4, MAX_BYTES / 2]
        .iter()
        .enumerate()
    {
        let kernel = cache.kernel(&format!("k{n}"), "packed");
        assert!(cache.unpacked(&kernel, *size).keep().unwrap());
        aged(&cache, &kernel, 100 - n as u64);
        kernels.push(kernel);
    }
    assert_eq!(cache.names().len(), 3, "together they just fit");
    let fourth = cache.kernel("k4", "packed");
    assert!(cache.unpacked(&fourth, MAX_BYTES / 4 + 1).keep().unwrap());
    let left: Vec<bool> = kernels.iter().map(|k| cache.look(k).is_cached()).collect();
    assert_eq!(left, [false, false, true]);
}

/// Was used `seconds` ago.
fn aged(cache: &Cache, kernel: &File, seconds: u64) {
    let file = File::options()
        .write(true)
        .open(cache.directory().join(name(kernel)))
        .unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    file.set_modified(then).unwrap();
}

#[test]
fn what_is_not_a_private_file_of_ours_is_replaced() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    assert!(cache.unpacked(&kernel, 6).keep().unwrap());
    let path = cache.directory().join(name(&kernel));
    let spoils: [fn(&Path); 3] = [
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", path).unwrap();
        },
    ];
    for (n, spoil) in spoils.iter().enumerate() {
        spoil(&path);
        assert!(cache.unpacked(&kernel, 6).keep().unwrap(), "spoil {n}");
        assert_eq!(content(cache.look(&kernel)).len(), 6, "spoil {n}");
    }
}

#[test]
fn file_of_another_user_is_not_whole() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    assert!(cache.unpacked(&kernel, 6).keep().unwrap());
    let about = rustix::fs::stat(cache.directory().join(name(&kernel))).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert!(is_whole(&about, uid));
    assert!(!is_whole(&about, uid + 1));
}

#[test]
fn directory_that_others_may_enter_is_not_used() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    fs::create_dir(cache.directory()).unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(cache.directory(), open).unwrap();
    let error = look(&cache.directory(), &kernel, false).err().unwrap();
    assert!(error.to_string().contains("0700"), "{error}");
    assert!(cache.names().is_empty());
}

#[test]
fn kernel_looked_for_anew_replaces_the_cached_one() {
    let cache = Cache::new();
    let kernel = cache.kernel("k", "packed");
    assert!(cache.unpacked(&kernel, 6).keep().unwrap());
    let anew = filled(look(&cache.directory(), &kernel, true).unwrap(), 9);
    assert_eq!(content(cache.look(&kernel)).len(), 6, "until it is ready");
    assert!(anew.keep().unwrap());
    assert_eq!(content(cache.look(&kernel)).len(), 9);
}

#[test]
fn file_with_a_temporary_name_is_kept_under_its_own_or_removed() {
    let cache = Cache::new();
    let kernel = cache.kernel("vmlinuz", "packed");
    let named = || {
        let Kernel::New(mut entry) = cache.look(&kernel) else {
            panic!("not a new kernel");
        };
        (entry.file, entry.temporary) = named_file(&entry.directory, &entry.name).unwrap();
        entry
    };
    drop(named());
    assert!(cache.names().is_empty());
    let entry = filled(Kernel::New(named()), 100);
    assert!(entry.keep().unwrap());
    drop(entry);
    assert_eq!(cache.names(), [name(&kernel)]);
    assert_eq!(content(cache.look(&kernel)).len(), 100);
}

#[test]
fn sweep_removes_unfinished_files_only() {
    let place = TempDir::new("kernels");
    let paths = Paths::under(place.path());
    let directory = paths.kernel_cache_dir();
    fs::create_dir_all(&directory).unwrap();
    for file in ["1-2-3-4-5-6-7.elf", "1-2-3-4-5-6-7.elf.8.9.new"] {
        fs::write(directory.join(file), "x").unwrap();
    }
    sweep(&paths);
    assert!(directory.join("1-2-3-4-5-6-7.elf").exists());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}
