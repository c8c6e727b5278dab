//! Commands that can be pasted into a shell.

use crate::verify::SampleRequest;

/// The sample to this URL, unsigned.
pub fn curl(url: &str, sample: &SampleRequest) -> String {
    let mut command = format!("curl -i -X {} {}", sample.method, quoted(url));
    for (name, value) in &sample.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        command += &format!(" -H {}", quoted(&format!("{name}: {value}")));
    }
    let body = String::from_utf8_lossy(&sample.body);
    command + &format!(" --data-binary {}", quoted(&body))
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_stays_one_whatever_is_in_it() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME `x`"), r"'it'\''s $HOME `x`'");
    }
}
