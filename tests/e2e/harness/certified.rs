//! A site whose receiver has certificates.

use std::fs;

use creel_common::testkit::certificates::{Authority, HOST};

use super::Site;

/// A site with an authority of its own: `ca.pem`, `server.pem` and `client.pem`, with their keys.
pub struct Certified {
    pub site: Site,
    pub authority: Authority,
}

impl Certified {
    /// `receiver` are further lines of `[receiver]`; `rest` follows after everything.
    pub fn new(receiver: &str, rest: &str) -> Self {
        let site = Site::new("", rest);
        let authority = Authority::new("an authority of a test");
        authority.write(&site.path("ca.pem"));
        issue_server(&authority, &site);
        authority.issue(site.root(), "client", &["client"]);
        let text = fs::read_to_string(site.config()).expect("the site's config");
        let text = text.replace("[receiver]\n", &format!("[receiver]\n{receiver}\n"));
        fs::write(site.config(), text).expect("the site's config");
        Self { site, authority }
    }

    /// Another certificate in the place of the server's.
    pub fn renew(&self) {
        issue_server(&self.authority, &self.site);
    }

    /// One whose public listener speaks TLS.
    pub fn public(receiver: &str) -> Self {
        let tls = "tls = { cert = \"server.pem\", key = \"server.key\" }";
        Self::new(&format!("{tls}\n{receiver}"), "")
    }
}

/// With the authority's own behind it: `creel send` believes what is in the file.
fn issue_server(authority: &Authority, site: &Site) {
    let files = authority.issue(site.root(), "server", &[HOST, "127.0.0.1"]);
    let chain = [files.cert.clone(), site.path("ca.pem")].map(|path| fs::read(path).expect("PEM"));
    fs::write(files.cert, chain.concat()).expect("our own file");
}
