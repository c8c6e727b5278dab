//! What a file that is not in order is told.

use super::*;

#[test]
fn everything_is_told_at_once_with_its_line() {
    let text = r#"
[receiver]
private = "0.0.0.0:8081"
[log]
retention = 7
volumes = "1GiB"
[sources.github]
provider = "githb"
[sources.pay]
provider = "stripe"
[destinations.archive]
type = "file"
[destinations.audit]
type = "postgress"
[[routes]]
source = "github"
destination = "audti"
"#;
    assert_eq!(
        report(text),
        "\
creel.toml has 7 problems
  creel.toml:3   receiver.private         0.0.0.0:8081 is not on loopback: the private listener has no TLS yet, so tokens and deliveries would cross the network in clear; listen on 127.0.0.1 or [::1]
  creel.toml:5   log.retention            expected a duration with its unit, such as \"7d\" or \"250ms\", found an integer
  creel.toml:6   log.volumes              unknown key; did you mean `volume`?
  creel.toml:8   sources.github.provider  unknown provider `githb`; did you mean `github`?
  creel.toml:9   sources.pay.secrets      provider `stripe` needs a secret, such as secrets = [{ env = \"NAME\" }]
  creel.toml:14  destinations.audit.type  unknown type `postgress`; did you mean `postgres`?
  creel.toml:17  routes[0].destination    no destination `audti`; there are archive, audit; did you mean `audit`?"
    );
}
