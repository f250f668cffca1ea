//! The system calls that untrusted code may not make, as a filter for bubblewrap's `--seccomp`.
//!
//! A list of what is refused, not of what is allowed: Node, Rolldown and whatever a plugin brings use most of the rest, and
//! no list of it would hold over their versions. What is refused is what leads out of namespaces, into the kernel's less
//! travelled parts, or to files that the scanner would have to reject.
//!
//! Invariant: no other calling convention gets around it. The filter ends a process of another architecture, and calls with
//! x32 numbers, before it looks at anything else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Is, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Namespaces, mounts, other processes, keys, kernel programs and modules, clocks, devices, handles of files: refused outright.
const REFUSED: &[i64] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_quotactl,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_personality,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_mknodat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
];

/// The same, where only this architecture has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_mknod, libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// `clone` with any of these makes a namespace. (`CLONE_NEWTIME` works with `clone3` and `unshare` alone.)
const NAMESPACE_FLAGS: [libc::c_int; 7] =
    [libc::CLONE_NEWNS, libc::CLONE_NEWCGROUP, libc::CLONE_NEWUTS, libc::CLONE_NEWIPC, libc::CLONE_NEWUSER, libc::CLONE_NEWPID, libc::CLONE_NEWNET];

/// The address families that a build may use. Others are seldom needed and often broken; `AF_VSOCK` passes network namespaces.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminal commands that put characters into another's input.
const TERMINAL_COMMANDS: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Where `struct seccomp_data` holds the number of the call.
const NUMBER_OFFSET: u32 = 0;
/// The bit of x32's numbers.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// The filter, as a file whose end bubblewrap reads to. Each start needs one of its own.
#[derive(Debug, Clone)]
pub(super) struct Filter(Vec<u8>);

impl Filter {
    /// The filter for this machine.
    pub(super) fn new() -> Result<Self, String> {
        let program = program().map_err(|e| format!("no system-call filter can be made for {}: {e}", std::env::consts::ARCH))?;
        Ok(Self(program.iter().flat_map(bytes).collect()))
    }

    /// A descriptor to hand to bubblewrap.
    pub(super) fn open(&self) -> std::io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("seccomp", MemfdFlags::CLOEXEC)?);
        file.write_all(&self.0)?;
        file.rewind()?;
        Ok(file.into())
    }
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    let has = |argument: u8, bits: u64| rule(&[(argument, Is::MaskedEq(bits), bits)]);
    rules.insert(libc::SYS_clone, NAMESPACE_FLAGS.iter().map(|flag| has(0, u64::from(flag.cast_unsigned()))).collect::<Result<_, _>>()?);
    let other: Vec<_> = FAMILIES.iter().map(|family| (0, Is::Ne, u64::from(family.cast_unsigned()))).collect();
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(call, vec![rule(&other)?]);
    }
    rules.insert(libc::SYS_ioctl, TERMINAL_COMMANDS.iter().map(|command| rule(&[(1, Is::Eq, *command)])).collect::<Result<_, _>>()?);
    // Neither setuid nor setgid: the scanner takes such bits away, but only at the end.
    let modes = [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (SYS_FCHMODAT2, 2)];
    #[cfg(target_arch = "x86_64")]
    let modes = modes.into_iter().chain([(libc::SYS_chmod, 1)]);
    for (call, argument) in modes {
        rules.insert(call, vec![has(argument, u64::from(libc::S_ISUID))?, has(argument, u64::from(libc::S_ISGID))?]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?;
    Ok(prologue().into_iter().chain(filter).collect())
}

/// Newer than the constants of `libc` on some architectures; the same number on all.
const SYS_FCHMODAT2: i64 = 452;

fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    // The kernel looks at the lower half of these arguments alone.
    SeccompRule::new(
        conditions.iter().map(|(argument, is, value)| SeccompCondition::new(*argument, Len::Dword, is.clone(), *value)).collect::<Result<_, _>>()?,
    )
}

/// What comes before the list. `clone3` has its flags in memory, where no filter can look: "no such call" makes the C
/// library use `clone`.
fn prologue() -> Vec<sock_filter> {
    let load = |k| sock_filter { code: opcode(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k };
    let skip_unless = |comparison, k| sock_filter { code: opcode(libc::BPF_JMP | comparison | libc::BPF_K), jt: 0, jf: 1, k };
    let answer = |k| sock_filter { code: opcode(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k };
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    vec![
        load(NUMBER_OFFSET),
        #[cfg(target_arch = "x86_64")]
        skip_unless(libc::BPF_JGE, X32_BIT),
        #[cfg(target_arch = "x86_64")]
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        skip_unless(libc::BPF_JEQ, clone3),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

fn opcode(bits: u32) -> u16 {
    u16::try_from(bits).unwrap_or(u16::MAX)
}

/// `struct sock_filter`, as the kernel reads it.
fn bytes(instruction: &sock_filter) -> [u8; 8] {
    let [code0, code1] = instruction.code.to_ne_bytes();
    let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
    [code0, code1, instruction.jt, instruction.jf, k0, k1, k2, k3]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// The kernel's limit, instructions.
    const BPF_MAXINSNS: usize = 4096;

    #[test]
    fn the_filter_fits_the_kernel_and_begins_with_what_no_list_can_say() {
        let filter = Filter::new().expect("a filter");
        assert!(filter.0.len().is_multiple_of(8) && filter.0.len() / 8 < BPF_MAXINSNS, "{} instructions", filter.0.len() / 8);
        let mut read = Vec::new();
        File::from(filter.open().expect("memfd")).read_to_end(&mut read).expect("read");
        assert_eq!(read, filter.0, "each start reads it from its beginning");
        assert_eq!(read[..8], bytes(&prologue()[0]));
    }
}
