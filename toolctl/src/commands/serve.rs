//! `serve`: standard input and output joined to xend's XML-RPC socket, for an xm at the other end of an ssh.

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// The definition.
pub const COMMAND: Command = Command {
    name: "serve",
    summary: "Proxy Xend XMLRPC over stdio.",
    group: Group::Host,
    arity: Arity::Exact(0),
    usage_after_fault: false,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    if context.by_xen_api() {
        context.line("Not supported with XenAPI")?;
        return Ok(255);
    }
    let path = context.paths.xmlrpc_socket();
    let server = UnixStream::connect(&path).map_err(|e| {
        Failure::message(format!(
            "xend serves no XML-RPC on {}: {}",
            path.display(),
            reason(&e)
        ))
    })?;
    let mut up = server.try_clone()?;
    // Ends with the process: a blocking read of standard input cannot be called off.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut up);
        let _ = up.shutdown(Shutdown::Write);
    });
    let mut down = server;
    let mut out = io::stdout().lock();
    let mut chunk = [0; 16 << 10];
    loop {
        let n = io::Read::read(&mut down, &mut chunk)?;
        if n == 0 {
            return Ok(0);
        }
        out.write_all(&chunk[..n])?;
        out.flush()?;
    }
}
