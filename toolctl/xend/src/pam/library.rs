//! Linux-PAM's libpam.so.0, by its published interface (pam_start(3), pam_conv(3), pam_authenticate(3), pam_acct_mgmt(3)).
//!
//! ```text
//!   dlopen ─ pam_start ─ pam_authenticate ──asks by──> converse() ──the password──> modules
//!                      └ pam_acct_mgmt ─ pam_end
//! ```
//! It is loaded while the process runs, since linking it would make xend refuse to start where it is not installed; this is a C library's
//! interface with a callback, for which there is no safe way. The process does nothing else and has one thread.
#![allow(unsafe_code)] // A C library's functions.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const LIBRARY: &CStr = c"libpam.so.0";
const SUCCESS: c_int = 0;
const BUFFER_ERROR: c_int = 5;
const CONVERSATION_ERROR: c_int = 19;
/// Do not print anything; take no empty password.
const FLAGS: c_int = 0x8000 | 1;
/// A question whose answer is not shown: the password.
const ASKS_SECRET: c_int = 1;
/// One whose answer is shown, which we have none to.
const ASKS: c_int = 2;
/// Messages at once, PAM_MAX_NUM_MSG.
const MOST: c_int = 32;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

type Converse =
    unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conversation {
    converse: Converse,
    password: *mut c_void,
}

/// pam_handle_t, of which nothing is known.
#[repr(C)]
struct Handle {
    _nothing: [u8; 0],
}

type Start = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const Conversation,
    *mut *mut Handle,
) -> c_int;
type StartIn = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const Conversation,
    *const c_char,
    *mut *mut Handle,
) -> c_int;
type Step = unsafe extern "C" fn(*mut Handle, c_int) -> c_int;
type Describe = unsafe extern "C" fn(*mut Handle, c_int) -> *const c_char;

/// Is `password` that of `user`, and may he come in now? `services` is another directory than /etc/pam.d.
pub fn check(
    services: Option<&Path>,
    service: &str,
    user: &[u8],
    password: &[u8],
) -> Result<(), String> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "a NUL in a word for PAM".to_owned());
    let (service, user, password) = (text(service.as_bytes())?, text(user)?, text(password)?);
    let services = services
        .map(|path| text(path.as_os_str().as_bytes()))
        .transpose()?;
    // SAFETY: the name is a C string. What the library does when it is loaded is its packager's business, as it would be if it were linked.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(
            "libpam.so.0 does not load: install libpam0g, or write token in place of pam".into(),
        );
    }
    let find = |name: &CStr| {
        // SAFETY: `library` is what dlopen gave and is never closed; the name is a C string.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        match found.is_null() {
            true => Err(format!("libpam.so.0 has no {}", name.to_string_lossy())),
            false => Ok(found),
        }
    };
    let (authenticate, account, end) = (
        find(c"pam_authenticate")?,
        find(c"pam_acct_mgmt")?,
        find(c"pam_end")?,
    );
    let describe = find(c"pam_strerror")?;
    // SAFETY: the functions of these names have these types, by pam_authenticate(3), pam_acct_mgmt(3), pam_end(3) and pam_strerror(3).
    let (authenticate, account, end, describe) = unsafe {
        (
            std::mem::transmute::<*mut c_void, Step>(authenticate),
            std::mem::transmute::<*mut c_void, Step>(account),
            std::mem::transmute::<*mut c_void, Step>(end),
            std::mem::transmute::<*mut c_void, Describe>(describe),
        )
    };
    let conversation = Conversation {
        converse,
        password: password.as_ptr().cast_mut().cast(),
    };
    let mut handle: *mut Handle = std::ptr::null_mut();
    let started = match &services {
        None => {
            let start = find(c"pam_start")?;
            // SAFETY: the function of this name has this type, by pam_start(3); every pointer is to something that lives until pam_end.
            unsafe {
                let start = std::mem::transmute::<*mut c_void, Start>(start);
                start(service.as_ptr(), user.as_ptr(), &conversation, &mut handle)
            }
        }
        Some(services) => {
            let start = find(c"pam_start_confdir")?;
            // SAFETY: as above.
            unsafe {
                let start = std::mem::transmute::<*mut c_void, StartIn>(start);
                start(
                    service.as_ptr(),
                    user.as_ptr(),
                    &conversation,
                    services.as_ptr(),
                    &mut handle,
                )
            }
        }
    };
    if started != SUCCESS {
        return Err(format!("PAM does not start (error {started})"));
    }
    let mut outcome = SUCCESS;
    for step in [authenticate, account] {
        if outcome == SUCCESS {
            // SAFETY: `handle` is that of a pam_start that succeeded, and pam_end was not called yet.
            outcome = unsafe { step(handle, FLAGS) };
        }
    }
    // SAFETY: the same; pam_strerror gives a C string that stays, which is copied at once.
    let words = unsafe {
        let words = describe(handle, outcome);
        match words.is_null() {
            true => String::new(),
            false => CStr::from_ptr(words).to_string_lossy().into_owned(),
        }
    };
    // SAFETY: the same; nothing of the handle is used after this.
    unsafe { end(handle, outcome) };
    match outcome {
        SUCCESS => Ok(()),
        _ => Err(format!("PAM: {words}")),
    }
}

/// Answers the modules: the password where it is asked for, nothing to what is only told.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    password: *mut c_void,
) -> c_int {
    let Some(wanted) = usize::try_from(count)
        .ok()
        .filter(|_| (1..=MOST).contains(&count))
    else {
        return CONVERSATION_ERROR;
    };
    if messages.is_null() || responses.is_null() {
        return CONVERSATION_ERROR;
    }
    // SAFETY: by pam_conv(3) `messages` is an array of `count` pointers to messages that are there for this call.
    let messages = unsafe { std::slice::from_raw_parts(messages, wanted) };
    // SAFETY: the same.
    let styles = messages.iter().map(|message| unsafe { (**message).style });
    let styles: Vec<c_int> = styles.collect();
    if styles.contains(&ASKS) {
        return CONVERSATION_ERROR;
    }
    // SAFETY: an array of `count` responses, zeros, which libpam frees, as it does their texts.
    let answers =
        unsafe { libc::calloc(wanted, std::mem::size_of::<Response>()) }.cast::<Response>();
    if answers.is_null() {
        return BUFFER_ERROR;
    }
    for (index, style) in styles.into_iter().enumerate() {
        if style == ASKS_SECRET {
            // SAFETY: `index` is below the length of the array; `password` is the C string that pam_start was given and lives until pam_end.
            unsafe { (*answers.add(index)).text = libc::strdup(password.cast()) };
        }
    }
    // SAFETY: by pam_conv(3) this is where the array's address goes.
    unsafe { *responses = answers };
    SUCCESS
}
