//! `taciturn demo`: a relay and a page on loopback, with nothing to configure.

use crate::cli::DemoOptions;

pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    anyhow::bail!("this build has no demo (page port {}, page {})", options.page_port, !options.no_page)
}
