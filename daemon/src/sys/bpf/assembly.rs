//! Writing eBPF instructions down, with labels for jumps.
//!
//! Operation codes and layouts: Documentation/bpf/standardization/instruction-set.rst and include/uapi/linux/bpf.h.

use super::Instruction;

/// What a call or a packet load returns.
pub const R0: u8 = 0;
/// The first thing that a call is given; the program itself is given its frame in it.
pub const R1: u8 = 1;
/// The second thing that a call is given.
pub const R2: u8 = 2;
/// The third.
pub const R3: u8 = 3;
/// The fourth.
pub const R4: u8 = 4;
/// Kept over calls; packet loads want the frame here.
pub const R6: u8 = 6;
/// Kept over calls.
pub const R7: u8 = 7;
/// Kept over calls.
pub const R8: u8 = 8;
/// Kept over calls.
pub const R9: u8 = 9;
/// Where the stack ends.
const R10: u8 = 10;

/// Four octets.
pub const WORD: u8 = 0x00;
/// Two octets.
pub const HALF: u8 = 0x08;
/// One octet.
pub const BYTE: u8 = 0x10;
const LOAD_ABSOLUTE: u8 = 0x20;
const LOAD_INDIRECT: u8 = 0x40;
const LOAD_IMMEDIATE_64: u8 = 0x18;
/// dst = immediate.
pub const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
/// dst += immediate.
pub const ADD: u8 = 0x07;
/// dst += src.
pub const ADD_REGISTER: u8 = 0x0f;
/// dst &= immediate.
pub const AND: u8 = 0x57;
/// dst <<= immediate.
pub const SHIFT_LEFT: u8 = 0x67;
/// dst >>= immediate.
pub const SHIFT_RIGHT: u8 = 0x77;
/// dst *= src.
pub const MULTIPLY_REGISTER: u8 = 0x2f;
/// dst %= immediate.
pub const MODULO: u8 = 0x97;
/// dst ^= src.
pub const XOR_REGISTER: u8 = 0xaf;
/// Always.
pub const JUMP: u8 = 0x05;
/// If the register is the immediate.
pub const JUMP_IF_EQUAL: u8 = 0x15;
/// If the register is not the immediate.
pub const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;
const LOAD: u8 = 0x61; // a word
const STORE: u8 = 0x63; // a word
const STORE_IMMEDIATE: u8 = 0x62;
const CALL: u8 = 0x85;
/// A double word in memory += src, in one step; the immediate says that it is an addition (`BPF_ATOMIC`, `BPF_ADD`).
const COUNT_UP: u8 = 0xdb;
/// In the place of a source register: the immediate is a map's descriptor, and what is loaded is the address of what the map
/// holds (`BPF_PSEUDO_MAP_VALUE`).
const VALUE_OF_MAP: u8 = 2;

/// Instructions, and the jumps among them whose target is a label.
#[derive(Debug)]
pub struct Assembly<L> {
    code: Vec<Instruction>,
    labels: Vec<(L, usize)>,
    jumps: Vec<(L, usize)>,
}

impl<L> Default for Assembly<L> {
    fn default() -> Self {
        Self { code: Vec::new(), labels: Vec::new(), jumps: Vec::new() }
    }
}

impl<L: PartialEq> Assembly<L> {
    fn push(&mut self, code: u8, dst: u8, src: u8, immediate: i32) {
        self.code.push(Instruction { code, registers: src << 4 | dst, offset: 0, immediate });
    }

    fn memory(&mut self, code: u8, (dst, src): (u8, u8), offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: src << 4 | dst, offset, immediate });
    }

    /// dst = the word at `at` of what the kernel shows of the frame (`struct __sk_buff`, which R6 points to).
    pub fn load_field(&mut self, dst: u8, at: i16) {
        self.memory(LOAD, (dst, R6), at, 0);
    }

    /// dst = the word at `at`, below the stack's end.
    pub fn load_stack(&mut self, dst: u8, at: i16) {
        self.memory(LOAD, (dst, R10), at, 0);
    }

    /// The word at `at`, below the stack's end, becomes the register's.
    pub fn store_stack(&mut self, at: i16, src: u8) {
        self.memory(STORE, (R10, src), at, 0);
    }

    /// What is at `at`, below the stack's end, becomes `value`.
    pub fn fill_stack(&mut self, width: u8, at: i16, value: i32) {
        self.memory(STORE_IMMEDIATE | width, (R10, 0), at, value);
    }

    /// dst points to `at`, below the stack's end.
    pub fn point_to_stack(&mut self, dst: u8, at: i32) {
        self.copy(dst, R10);
        self.immediate(ADD, dst, at);
    }

    /// Calls a helper of the kernel by its number.
    pub fn call(&mut self, helper: i32) {
        self.push(CALL, 0, 0, helper);
    }

    /// R0 = the octets at `at`, counted from the frame's start.
    pub fn load_absolute(&mut self, width: u8, at: i32) {
        self.push(LOAD_ABSOLUTE | width, 0, 0, at);
    }

    /// R0 = the octets at `at`, counted from R7.
    pub fn load(&mut self, width: u8, at: i32) {
        self.push(LOAD_INDIRECT | width, 0, R7, at);
    }

    /// dst = dst `code` value.
    pub fn immediate(&mut self, code: u8, dst: u8, value: i32) {
        self.push(code, dst, 0, value);
    }

    /// dst = dst `code` src.
    pub fn register(&mut self, code: u8, dst: u8, src: u8) {
        self.push(code, dst, src, 0);
    }

    /// dst = src.
    pub fn copy(&mut self, dst: u8, src: u8) {
        self.register(MOVE_REGISTER, dst, src);
    }

    /// Two instructions: the lower half, then the upper in one that has nothing else.
    pub fn immediate_64(&mut self, dst: u8, value: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
        let (low, high) = (value as i32, (value >> 32) as i32);
        self.push(LOAD_IMMEDIATE_64, dst, 0, low);
        self.push(0, 0, 0, high);
    }

    /// dst points to the one value of the map that this descriptor is of.
    pub fn point_to_value(&mut self, dst: u8, map: i32) {
        self.push(LOAD_IMMEDIATE_64, dst, VALUE_OF_MAP, map);
        self.push(0, 0, 0, 0);
    }

    /// What dst points to += src, whoever else does the same.
    pub fn count_up(&mut self, dst: u8, src: u8) {
        self.memory(COUNT_UP, (dst, src), 0, 0);
    }

    /// R8 ^= each of the words at these places, counted from R7.
    pub fn fold_words(&mut self, at: &[i32]) {
        for &at in at {
            self.load(WORD, at);
            self.register(XOR_REGISTER, R8, R0);
        }
    }

    /// Jumps to the label if `code` says so of the register and the value.
    pub fn jump(&mut self, code: u8, register: u8, value: i32, to: L) {
        self.jumps.push((to, self.code.len()));
        self.push(code, register, 0, value);
    }

    /// Here is this label.
    pub fn label(&mut self, label: L) {
        self.labels.push((label, self.code.len()));
    }

    /// Ends the program; R0 is what it says.
    pub fn exit(&mut self) {
        self.push(EXIT, 0, 0, 0);
    }

    /// Fills in the distances, which count from the instruction after the jump.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (label, from) in self.jumps {
            let to = self.labels.iter().find(|(each, _)| *each == label).map(|(_, at)| *at);
            let distance = to.expect("every label is placed") - from - 1;
            self.code[from].offset =
                i16::try_from(distance).expect("the program is short and jumps forwards");
        }
        self.code
    }
}
