//! What the kernel's connection tracking says of translated connections, over netlink.
//!
//! A subscription tells of each connection that begins from then on; one dump before it, of those that are
//! there. Both want CAP_NET_ADMIN to be asked for, and none to be received. The kernel tracks connections only
//! where some rule of this network namespace asks for it, and makes messages only while somebody listens; those
//! of connections that are not translated are dropped by a filter before they are queued.
//!
//! Messages: `include/uapi/linux/netfilter/nfnetlink.h`, `nfnetlink_conntrack.h`; attributes are padded to four
//! bytes (`include/uapi/linux/netlink.h`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use crate::net::Endpoint;

/// `1 << (NFNLGRP_CONNTRACK_NEW - 1)`.
const GROUP_NEW: u32 = 1;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`, of entries in events and dumps.
const ENTRY: u16 = 1 << 8;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// Of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u32 = 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPPROTO_TCP: u8 = 6;

/// `IPS_SRC_NAT | IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 4 | 1 << 5;

/// Messages that wait between two looks, of about a kilobyte each; at the first scrape after a long one there may
/// be thousands.
const QUEUE_BYTES: usize = 8 << 20;
/// The kernel makes a dump in pieces of at most so much.
const READ_BYTES: usize = 64 * 1024;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sends.
    pub source: Endpoint,
    /// To whom.
    pub target: Endpoint,
}

impl Flow {
    fn reversed(self) -> Self {
        Self { source: self.target, target: self.source }
    }
}

/// A TCP connection whose ends have different ideas of each other's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translated {
    /// As its client sends it.
    pub original: Flow,
    /// As its server answers.
    pub reply: Flow,
}

/// A subscription; see the module.
#[derive(Debug)]
pub struct Conntrack {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Conntrack {
    /// Subscribes in this thread's network namespace, then hands over what is there already.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, `EPROTONOSUPPORT` where the kernel has no such thing.
    pub fn open(mut receive: impl FnMut(Translated)) -> io::Result<Self> {
        let socket = netlink(SocketFlags::NONBLOCK)?;
        only_translated(&socket)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP_NEW))?;
        let mut buffer = vec![0; READ_BYTES];
        dump(&mut buffer, &mut receive)?;
        Ok(Self { socket, buffer })
    }

    /// Hands over what began since the last call; gives whether some of it was lost.
    pub fn read(&mut self, mut receive: impl FnMut(Translated)) -> bool {
        let mut has_lost = false;
        loop {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => {
                    let _ = each_message(&self.buffer[..count], &mut receive);
                }
                // The queue was full.
                Err(Errno::NOBUFS) => has_lost = true,
                Err(Errno::INTR) => {}
                Err(_) => return has_lost,
            }
        }
    }
}

fn netlink(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?)
}

fn dump(buffer: &mut [u8], receive: &mut impl FnMut(Translated)) -> io::Result<()> {
    let socket = netlink(SocketFlags::empty())?;
    let mut request = Vec::new();
    request.extend(((HEADER_BYTES + FAMILY_BYTES) as u32).to_ne_bytes());
    request.extend(GET.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    // Number and port, then every family, version 0, no resource.
    request.extend([0; 8 + FAMILY_BYTES]);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    loop {
        let (count, _) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
        if each_message(&buffer[..count], receive)? || count == 0 {
            return Ok(());
        }
    }
}

/// Hands over the translated connections among some messages; gives whether a dump ends with them.
fn each_message(mut bytes: &[u8], receive: &mut impl FnMut(Translated)) -> io::Result<bool> {
    while let Some(header) = bytes.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = bytes.get(HEADER_BYTES..length) else { return Ok(true) };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = body.get(..4).map_or(0, |code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]));
                return Err(io::Error::from_raw_os_error(-code));
            }
            ENTRY => {
                if let Some(translated) = body.get(FAMILY_BYTES..).and_then(translated) {
                    receive(translated);
                }
            }
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Types and values of attributes that follow one another.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The connection that an entry tells of, if it is one of TCP and translated.
fn translated(entry: &[u8]) -> Option<Translated> {
    let original = flow(attribute(entry, CTA_TUPLE_ORIG)?)?;
    let reply = flow(attribute(entry, CTA_TUPLE_REPLY)?)?;
    (reply.reversed() != original).then_some(Translated { original, reply })
}

fn flow(tuple: &[u8]) -> Option<Flow> {
    let addresses = attribute(tuple, CTA_TUPLE_IP)?;
    let protocol = attribute(tuple, CTA_TUPLE_PROTO)?;
    if attribute(protocol, CTA_PROTO_NUM)?.first() != Some(&IPPROTO_TCP) {
        return None;
    }
    let end = |v4: u16, v6: u16, port: u16| {
        let address = match attribute(addresses, v4) {
            Some(bytes) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_ipv6_mapped(),
            None => Ipv6Addr::from(<[u8; 16]>::try_from(attribute(addresses, v6)?).ok()?),
        };
        let port = u16::from_be_bytes(attribute(protocol, port)?.try_into().ok()?);
        Some(Endpoint { address, port })
    };
    Some(Flow {
        source: end(CTA_IP_V4_SRC, CTA_IP_V6_SRC, CTA_PROTO_SRC_PORT)?,
        target: end(CTA_IP_V4_DST, CTA_IP_V6_DST, CTA_PROTO_DST_PORT)?,
    })
}

/// Lets only messages through whose status says that the connection is translated, and those without one.
///
/// Classic BPF (`Documentation/networking/filter.rst`); `SKF_AD_NLATTR` finds the attribute whose type is in X, from
/// the offset in A on, and gives its offset or 0.
#[expect(unsafe_code, reason = "setsockopt with a filter has no safe wrapper")]
fn only_translated(socket: &OwnedFd) -> io::Result<()> {
    const SKF_AD_NLATTR: u32 = (-0x1000_i32 + 12) as u32;
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_IMM, 0, 0, (HEADER_BYTES + FAMILY_BYTES) as u32),
        step(libc::BPF_LDX | libc::BPF_IMM, 0, 0, CTA_STATUS),
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, SKF_AD_NLATTR),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 3, 0, 0),
        step(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_IND, 0, 0, 4),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, TRANSLATED),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` is a whole structure that points to as many steps as it says; the kernel copies them
    // during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::canonical;

    fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((inner.len() + 4) as u16).to_ne_bytes());
        bytes.extend((kind | 0x8000).to_ne_bytes());
        bytes.extend(inner);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn tuple(kind: u16, [source, target]: [&str; 2]) -> Vec<u8> {
        let ends: [std::net::SocketAddr; 2] = [source, target].map(|text| text.parse().unwrap());
        let addresses = ends.iter().enumerate().flat_map(|(place, end)| match end.ip() {
            std::net::IpAddr::V4(v4) => nested(CTA_IP_V4_SRC + place as u16, &v4.octets()),
            std::net::IpAddr::V6(v6) => nested(CTA_IP_V6_SRC + place as u16, &v6.octets()),
        });
        let addresses = nested(CTA_TUPLE_IP, &addresses.collect::<Vec<u8>>());
        let ports = ends.iter().zip([CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT]);
        let ports = ports.flat_map(|(end, kind)| nested(kind, &end.port().to_be_bytes()));
        let protocol = nested(CTA_PROTO_NUM, &[IPPROTO_TCP]).into_iter().chain(ports).collect::<Vec<u8>>();
        nested(kind, &[addresses, nested(CTA_TUPLE_PROTO, &protocol)].concat())
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn entry(original: [&str; 2], reply: [&str; 2]) -> Vec<u8> {
        let tuples = [vec![2, 0, 0, 0], tuple(CTA_TUPLE_ORIG, original), tuple(CTA_TUPLE_REPLY, reply)];
        message(ENTRY, &tuples.concat())
    }

    fn read(bytes: &[u8]) -> (Vec<Translated>, Option<bool>) {
        let mut seen = Vec::new();
        let end = each_message(bytes, &mut |one| seen.push(one)).ok();
        (seen, end)
    }

    fn endpoint(text: &str) -> Endpoint {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Endpoint { address: canonical(address.ip()), port: address.port() }
    }

    #[test]
    fn translated_connections_are_told_from_others() {
        let plain = entry(["10.0.0.2:4000", "10.0.0.1:80"], ["10.0.0.1:80", "10.0.0.2:4000"]);
        let cluster = entry(["10.0.0.2:4000", "10.96.0.1:80"], ["10.0.0.9:8080", "10.0.0.2:4000"]);
        let six = entry(["[fd00::2]:4000", "[fd00:96::1]:80"], ["[fd00::9]:8080", "[fd00::2]:4000"]);
        let (seen, end) = read(&[plain, cluster, six].concat());
        assert_eq!((seen.len(), end), (2, Some(false)));
        assert_eq!(seen[0].original.target, endpoint("10.96.0.1:80"));
        assert_eq!(seen[0].reply.source, endpoint("10.0.0.9:8080"));
        assert_eq!(seen[1].reply.source, endpoint("[fd00::9]:8080"));
    }

    #[test]
    fn a_dump_ends_with_its_last_message_or_its_error() {
        assert_eq!(read(&message(NLMSG_DONE, &[0; 4])).1, Some(true));
        assert_eq!(read(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes())).1, None);
    }

    #[test]
    fn cut_and_damaged_messages_give_nothing_and_leave_the_next_ones_alone() {
        let whole = entry(["10.0.0.2:4000", "10.96.0.1:80"], ["10.0.0.9:8080", "10.0.0.2:4000"]);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).0.is_empty(), "cut at {cut}");
        }
        for place in HEADER_BYTES..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            let (seen, _) = read(&[damaged, whole.clone()].concat());
            assert!(seen.len() <= 2 && seen.last() == read(&whole).0.last(), "byte {place}");
        }
    }
}
