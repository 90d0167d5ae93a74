//! Where the fields we read lie in the running kernel's structures.

/// Byte offsets of kernel fields, found at start from the running kernel's BTF and patched into the
/// read-only data of the object before it is loaded. One object then serves every kernel.
///
/// Names are `structure_field`; the definitions are in the kernel's `include/net/sock.h`,
/// `include/linux/tcp.h`, `include/linux/net.h`, `include/linux/fs.h`, `include/linux/fdtable.h`,
/// `include/linux/sched.h`, `include/linux/cgroup-defs.h` and `include/linux/kernfs.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[expect(missing_docs, reason = "each name is the kernel's own")]
pub struct Offsets {
    pub sock_state: u32,
    pub sock_family: u32,
    pub sock_protocol: u32,
    pub sock_num: u32,
    pub sock_dport: u32,
    pub sock_daddr: u32,
    pub sock_rcv_saddr: u32,
    pub sock_v6_daddr: u32,
    pub sock_v6_rcv_saddr: u32,
    pub sock_net: u32,
    pub sock_flags: u32,
    pub sock_err: u32,
    pub sock_drops: u32,
    pub sock_ack_backlog: u32,
    pub sock_max_ack_backlog: u32,
    /// Of the cgroup pointer inside `sk_cgrp_data`.
    pub sock_cgroup: u32,
    pub sock_sport: u32,
    pub cgroup_is_typed: u32,
    pub cgroup_kn: u32,
    pub kernfs_node_id: u32,
    pub net_inum: u32,
    pub tcp_srtt_us: u32,
    pub tcp_bytes_acked: u32,
    pub tcp_bytes_received: u32,
    pub tcp_total_retrans: u32,
    pub tcp_snd_una: u32,
    pub tcp_write_seq: u32,
    pub tcp_rcv_nxt: u32,
    pub tcp_copied_seq: u32,
    pub tcp_clock: u32,
    pub task_files: u32,
    pub task_tgid: u32,
    pub files_fdt: u32,
    pub fdtable_max_fds: u32,
    pub fdtable_fd: u32,
    pub file_private_data: u32,
    pub file_inode: u32,
    pub inode_mode: u32,
    pub socket_sk: u32,
    pub socket_file: u32,
}
