//! x86-64 instructions, as far as it takes to find a function and a cheap place in it. Nothing is executed or followed;
//! what is not understood gives nothing.

use iced_x86::{Code as Kind, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// A function that exceeds this is none of those that are looked into.
const MOST_FUNCTION_BYTES: u64 = 4096;
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// Those of a frame and a scratch register, none of which holds an argument (System V ABI, section 3.2.3).
const NO_ARGUMENTS: [Register; 4] = [Register::RSP, Register::RBP, Register::RAX, Register::EAX];

/// Where a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Of its first instruction.
    pub address: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A section of instructions.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    /// Of its first byte.
    pub address: u64,
    /// What it holds.
    pub bytes: &'a [u8],
}

impl<'a> Code<'a> {
    /// Whether an address is within.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|by| by < self.bytes.len() as u64)
    }

    /// From an address on.
    fn from(&self, address: u64) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(address.checked_sub(self.address)?).ok()?..)
    }

    /// The instructions of a function, up to one that is none.
    fn instructions(&self, function: Function) -> Option<impl Iterator<Item = Instruction> + 'a> {
        let length = usize::try_from(function.bytes).ok().filter(|_| function.bytes <= MOST_FUNCTION_BYTES)?;
        let bytes = self.from(function.address)?.get(..length)?;
        let mut decoder = Decoder::with_ip(64, bytes, function.address, DecoderOptions::NONE);
        Some(std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode())))
    }

    /// The function within this section that a function calls, whatever happens, with the arguments that it got.
    #[must_use]
    pub fn hands_on_to(&self, function: Function) -> Option<u64> {
        let mut rest = self.instructions(function)?.skip_while(leaves_arguments);
        let target = call(&rest.next()?)?;
        self.contains(target).then_some(target)
    }

    /// How often a function calls another one; `None` where not all of it can be read.
    #[must_use]
    pub fn calls(&self, function: Function, target: u64) -> Option<usize> {
        let mut count = 0;
        for instruction in self.instructions(function)? {
            if instruction.is_invalid() {
                return None;
            }
            count += usize::from(call(&instruction) == Some(target));
        }
        Some(count)
    }

    /// The first instruction of a function, or that behind an `endbr64`, if it [`is_cheap`]. An `endbr64` is not, and
    /// leaves the stack as it is: behind it, too, the return address is where a probe at the return looks for it.
    #[must_use]
    pub fn cheap(&self, address: u64) -> Option<u64> {
        let bytes = self.from(address)?;
        let (address, bytes) = match bytes.strip_prefix(&ENDBR64) {
            Some(rest) => (address.checked_add(ENDBR64.len() as u64)?, rest),
            None => (address, bytes),
        };
        is_cheap(bytes).then_some(address)
    }
}

/// Whether these bytes begin with an instruction that the kernel carries out itself when there is a probe on it: a push
/// of a register (`push_setup_xol_ops` in `arch/x86/kernel/uprobes.c`), or a nop of one byte (`branch_setup_xol_ops`, which
/// has calls and jumps, too, and since Linux 6.18 longer nops). Both are older than what runs here (3.16 and 4.16).
#[must_use]
pub fn is_cheap(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x57 | 0x90, ..] | [0x41, 0x50..=0x57, ..])
}

/// Where a direct call goes.
fn call(instruction: &Instruction) -> Option<u64> {
    (instruction.code() == Kind::Call_rel32_64).then(|| instruction.near_branch64())
}

/// Whether an instruction only makes room on the stack or guards it: it goes on to the next one, and leaves the registers
/// as they are that hold arguments.
fn leaves_arguments(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Endbr64 | Mnemonic::Nop | Mnemonic::Push => true,
        // These write their first operand.
        Mnemonic::Mov | Mnemonic::Sub | Mnemonic::And | Mnemonic::Xor => match instruction.op0_kind() {
            OpKind::Register => NO_ARGUMENTS.contains(&instruction.op0_register()),
            OpKind::Memory => matches!(instruction.memory_base(), Register::RSP | Register::RBP),
            _ => false,
        },
        _ => false,
    }
}
