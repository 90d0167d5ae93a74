//! Finds every offset that the kernel-side programs need.

use quoll_ebpf_abi::Offsets;

use crate::btf::{Btf, BtfError};

/// Offsets in the kernel that `btf` describes.
///
/// # Errors
/// [`BtfError::NoField`] with the first field that this kernel lacks.
pub fn find(btf: &Btf) -> Result<Offsets, BtfError> {
    // `sock_cgroup_data` held a tagged integer before 5.16; with cgroup v2 alone it is the pointer.
    let cgroup_pointer = btf.offset("sock_cgroup_data", "cgroup").ok();
    Ok(Offsets {
        sock_state: btf.offset("sock", "__sk_common.skc_state")?,
        sock_family: btf.offset("sock", "__sk_common.skc_family")?,
        sock_protocol: btf.offset("sock", "sk_protocol")?,
        sock_num: btf.offset("sock", "__sk_common.skc_num")?,
        sock_dport: btf.offset("sock", "__sk_common.skc_dport")?,
        sock_daddr: btf.offset("sock", "__sk_common.skc_daddr")?,
        sock_rcv_saddr: btf.offset("sock", "__sk_common.skc_rcv_saddr")?,
        sock_v6_daddr: btf.offset("sock", "__sk_common.skc_v6_daddr")?,
        sock_v6_rcv_saddr: btf.offset("sock", "__sk_common.skc_v6_rcv_saddr")?,
        sock_net: btf.offset("sock", "__sk_common.skc_net")?,
        sock_flags: btf.offset("sock", "__sk_common.skc_flags")?,
        sock_err: btf.offset("sock", "sk_err")?,
        sock_drops: btf.offset("sock", "sk_drops")?,
        sock_ack_backlog: btf.offset("sock", "sk_ack_backlog")?,
        sock_max_ack_backlog: btf.offset("sock", "sk_max_ack_backlog")?,
        sock_cgroup: btf.offset("sock", "sk_cgrp_data")? + cgroup_pointer.unwrap_or(0),
        sock_sport: btf.offset("inet_sock", "inet_sport")?,
        cgroup_is_typed: u32::from(cgroup_pointer.is_some()),
        cgroup_kn: btf.offset("cgroup", "kn")?,
        kernfs_node_id: btf.offset("kernfs_node", "id")?,
        net_inum: btf.offset("net", "ns.inum")?,
        tcp_srtt_us: btf.offset("tcp_sock", "srtt_us")?,
        tcp_bytes_acked: btf.offset("tcp_sock", "bytes_acked")?,
        tcp_bytes_received: btf.offset("tcp_sock", "bytes_received")?,
        tcp_total_retrans: btf.offset("tcp_sock", "total_retrans")?,
        tcp_snd_una: btf.offset("tcp_sock", "snd_una")?,
        tcp_write_seq: btf.offset("tcp_sock", "write_seq")?,
        tcp_rcv_nxt: btf.offset("tcp_sock", "rcv_nxt")?,
        tcp_copied_seq: btf.offset("tcp_sock", "copied_seq")?,
        tcp_clock: btf.offset("tcp_sock", "tcp_clock_cache")?,
        task_files: btf.offset("task_struct", "files")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        files_fdt: btf.offset("files_struct", "fdt")?,
        fdtable_max_fds: btf.offset("fdtable", "max_fds")?,
        fdtable_fd: btf.offset("fdtable", "fd")?,
        file_private_data: btf.offset("file", "private_data")?,
        file_inode: btf.offset("file", "f_inode")?,
        inode_mode: btf.offset("inode", "i_mode")?,
        socket_sk: btf.offset("socket", "sk")?,
        socket_file: btf.offset("socket", "file")?,
    })
}
