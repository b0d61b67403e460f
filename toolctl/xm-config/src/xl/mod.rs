//! What `xl` writes otherwise than `xm`: disks, and some variables by other names.
//!
//! ```text
//!   text of a disk ──is it xl's?──> disk::parse ──> the same Disk that xm's form gives
//! ```

pub mod disk;

#[cfg(test)]
mod tests;
