//! Domain configurations as `xm` wrote and read them.
//!
//! ```text
//!   FILE (a Python program)      var=value words
//!        |  lex -> parse              |
//!        v                            v
//!      [ast] --eval (bounded)--> variables --keys (known? kind?)--> Settings
//!                                                                      | domain
//!                                                                      v
//!   FILE.sxp --sxp::parse--> (vm ...) Node --sxp_config--> DomainConfig, which xend is sent
//!                                          <--sxp_config-- (create --dryrun)
//! ```
//! The program is evaluated here, in a bounded interpreter that can reach neither files, processes nor the network; the
//! host's Python is never started. `toolctl` sends the `(vm ...)` expression to xend, which reads it with [`VmConfig::from_sxp`].
//!
//! Source of the behaviour: xmdomain.cfg(5) and the `xm` chapter of the Xen users' manual.
#![forbid(unsafe_code)]

pub mod ast;
pub mod domain;
pub mod error;
pub mod eval;
pub mod keys;
pub mod lex;
pub mod limits;
pub mod load;
pub mod parse;
pub mod settings;
pub mod sxp;
pub mod sxp_config;
pub mod value;
pub mod xl;

pub use domain::domain_config;
pub use error::{ConfigError, Pos};
pub use limits::Limits;
pub use load::{declared_variables, find_config, load_file, load_source, Loaded, Options, Warning};
pub use settings::Settings;
pub use sxp::Node;
pub use sxp_config::{disk_node, from_sxp, to_sxp, vfb_node, vif_node};
