//! Commands on CPU pools, and on transcendent memory, which only Xen's hypervisor had: their words.

use super::{check_domain, number, planned, word};
use crate::cli::command::{Arity, Command, Group::Other, Opt, Run, Standing};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use Arity::{Any, Exact};

const ONE_POOL: &str =
    "all CPUs of the host are one pool, Pool-0; cpus= and xm vcpu-pin divide them";
const NO_TMEM: &str =
    "transcendent memory is a part of Xen's hypervisor; the host's page cache serves all domains";

const ALL: Opt = Opt::flag('a', "all", "All domains.");

const fn tmem(
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    options: &'static [Opt],
    run: Option<Run>,
) -> Command {
    Command {
        options,
        run,
        standing: Standing::NotOnKvm(NO_TMEM),
        ..planned(Other, name, args, summary, Any, "")
    }
}

#[rustfmt::skip]
pub(super) const PLANNED: &[Command] = &[
    Command {
        run: Some(pool_file),
        ..planned(Other, "cpupool-create", "<ConfigFile> [vars]", "Create a CPU pool from a file.", Any, ONE_POOL)
    },
    Command {
        run: Some(pool_file),
        ..planned(Other, "cpupool-new", "<ConfigFile> [vars]", "Add a CPU pool to xend without starting it.", Any, ONE_POOL)
    },
    planned(Other, "cpupool-start", "<CPU Pool>", "Start a CPU pool.", Exact(1), ONE_POOL),
    planned(Other, "cpupool-destroy", "<CPU Pool>", "Stop a CPU pool.", Exact(1), ONE_POOL),
    planned(Other, "cpupool-delete", "<CPU Pool>", "Remove a CPU pool from xend.", Exact(1), ONE_POOL),
    Command {
        run: Some(pool_cpu),
        ..planned(Other, "cpupool-cpu-add", "<CPU Pool> <CPU nr>", "Add a host CPU to a pool.", Exact(2), ONE_POOL)
    },
    Command {
        run: Some(pool_cpu),
        ..planned(Other, "cpupool-cpu-remove", "<CPU Pool> <CPU nr>", "Take a host CPU from a pool.", Exact(2), ONE_POOL)
    },
    Command {
        run: Some(check_domain),
        ..planned(Other, "cpupool-migrate", "<Domain> <CPU Pool>", "Move a domain to another pool.", Exact(2), ONE_POOL)
    },
    tmem("tmem-list", "[-l|--long] [-a|--all|<Domain>]", "List transcendent memory pools.", &[ALL, Opt::flag('l', "long", "All details.")], Some(tmem_domain)),
    tmem("tmem-freeze", "[-a|--all|<Domain>]", "Freeze transcendent memory pools.", &[ALL], Some(tmem_domain)),
    tmem("tmem-thaw", "[-a|--all|<Domain>]", "Thaw transcendent memory pools.", &[ALL], Some(tmem_domain)),
    tmem("tmem-destroy", "[-a|--all|<Domain>]", "Destroy transcendent memory pools.", &[ALL], Some(tmem_domain)),
    tmem("tmem-set", "[-a|--all|<Domain>] [weight=<weight>] [cap=<cap>] [compress=<compress>]", "Change settings of transcendent memory.", &[ALL], Some(tmem_set)),
    tmem("tmem-shared-auth", "[-a|--all|<Domain>] [--uuid=<uuid>] [--auth=<0|1>]", "Allow or deny shared transcendent memory pools.",
        &[ALL, Opt::value('u', "uuid", "UUID", "The pool."), Opt::value('A', "auth", "0|1", "Deny or allow.")], Some(tmem_domain)),
    tmem("tmem-freeable", "", "Print how much transcendent memory can be freed, MiB.", &[], None),
];

fn pool_file(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let Some(file) = parsed.words.first() else {
        return Err(Failure::usage("No config file given"));
    };
    match std::fs::File::open(file) {
        Ok(_) => Ok(0),
        Err(e) => Err(Failure::message(format!(
            "Unable to open config file: {file}: {}",
            reason(&e)
        ))),
    }
}

fn pool_cpu(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    number(word(parsed, 1))?;
    Ok(0)
}

fn tmem_domain(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    match parsed.has("all") || !parsed.words.is_empty() {
        true => Ok(0),
        false => Err(Failure::usage(
            "You must specify -a or --all or a domain id.",
        )),
    }
}

fn tmem_set(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    for (key, value) in parsed.words.iter().filter_map(|word| word.split_once('=')) {
        match key {
            "weight" | "cap" | "compress" => number(value)?,
            _ => return Err(Failure::usage("Invalid argument.")),
        };
    }
    tmem_domain(context, parsed)
}
