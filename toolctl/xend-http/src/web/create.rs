//! `POST /web/create`: a configuration as `xm create` takes it, evaluated within the same bounds, then built and started.

use crate::http::form::Form;
use crate::{tree, Ask};
use noxen_xend_api::{Fault, Request, Response};
use noxen_xm_config::load::load_source;
use noxen_xm_config::{domain_config, ConfigError, Options};

const NAME: &str = "config";

pub(super) fn create(ask: &dyn Ask, form: &Form) -> Result<(), Fault> {
    let text = form.get(NAME).unwrap_or_default().replace("\r\n", "\n");
    let wrong = |error: ConfigError| Fault::generic(error.render());
    let loaded = load_source(&text, NAME, &[], &Options::default()).map_err(wrong)?;
    let config = domain_config(&loaded.settings).map_err(wrong)?;
    let domain = match ask.ask(Request::Create {
        config: Box::new(config),
    })? {
        Response::Domain { domain } => domain.uuid,
        other => return Err(tree::unexpected(other)),
    };
    let started = tree::done(
        ask,
        Request::Unpause {
            domain: domain.clone(),
        },
    );
    if started.is_err() {
        // The first failure is the one to report; one of the clean-up would only hide it.
        let _ = ask.ask(Request::Destroy { domain });
    }
    started
}
