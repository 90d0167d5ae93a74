//! Addresses to listen at, as command lines have them.

use std::net::SocketAddr;

/// An address and a port.
///
/// # Errors
/// How it is written, in words.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(9466);
        format!(
            "write an address and a port: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} or [::]:{port} for all"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_answered_with_how_to_write_one() {
        assert_eq!(parse_address("[::1]:9467"), Ok(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9467))));
        for (wrong, port) in
            [(":9470", "127.0.0.1:9470"), ("localhost:1", "127.0.0.1:1"), ("9466", "9466"), ("h:99999", "9466")]
        {
            assert!(parse_address(wrong).unwrap_err().contains(port), "{wrong}");
        }
    }
}
