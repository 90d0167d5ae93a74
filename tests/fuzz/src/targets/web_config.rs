//! Prometheus' web configuration file: every text is taken or refused with a reason, in bounded time, and the
//! refusal repeats no password.

use std::path::Path;

use quoll_web_config::check_text;

use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "web_config", shape: Shape::Lines, run, seeds };

/// Stands for a password that somebody wrote where its hash belongs.
const PASSWORD: &str = "swordfish-in-plain-text";

/// Reads a text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(error) = check_text(text, Path::new("/nowhere")) {
        assert!(!error.to_string().is_empty());
    }
    // The same text with a password in the wrong place.
    let with_password = format!("{text}\nbasic_auth_users:\n  ann: {PASSWORD}\n");
    if let Err(error) = check_text(&with_password, Path::new("/nowhere")) {
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}

/// Files of every part of the format, and ones that grow when they are read.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let laughs: String =
        (0..8).map(|at| format!("a{at}: &a{at} [{}]\n", vec![format!("*a{}", at.max(1) - 1); 9].join(", "))).collect();
    let texts = [
        "",
        "# nothing\n",
        "tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: c.crt\n  min_version: TLS12\n  max_version: TLS13\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n",
        "basic_auth_users:\n  ann: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n  bob: plain\n",
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=1\n",
        "rate_limit:\n  interval: 100ms\n  burst: 5\n",
        &laughs,
        &"[".repeat(5000),
        &"a:\n ".repeat(500),
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
