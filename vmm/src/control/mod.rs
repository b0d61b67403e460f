//! The control socket.
//!
//! ```text
//!   listener --accept--> Connection: LineBuffer -> Request -> answer() -> Reply -> output buffer
//! ```

pub mod answer;
pub mod server;
