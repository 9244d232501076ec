//! Steering: an eBPF program that computes [`wire::FlowHash`] in the kernel, so that a frame arrives at the queue of
//! the worker that owns its flow.
//!
//! The kernel runs it on every frame sent into a multi-queue TAP and takes the result modulo the number of queues
//! (Linux drivers/net/tun.c, `tun_ebpf_select_queue`), which is [`wire::FlowHash::owner`]. The algorithm is written in
//! `wire/src/flow.rs`; this is the same, instruction by instruction. A tag that the kernel carries beside the frame
//! (a VLAN interface on top of the TAP) is not among its octets, and the hash looks through tags, so both agree.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, HEADER_LEN, TAG_LEN};
use wire::flow;

use super::Steering;
use crate::sys::bpf::assembly::{
    ADD, ADD_REGISTER, AND, Assembly, BYTE, HALF, JUMP, JUMP_IF_EQUAL, JUMP_UNLESS_EQUAL, MODULO, MOVE,
    MULTIPLY_REGISTER, R0, R1, R6, R7, R8, R9, SHIFT_LEFT, SHIFT_RIGHT, XOR_REGISTER,
};
use crate::sys::bpf::{self, Instruction, Kind};
use crate::sys::{tried, tun};

/// Attaches the program if there is a choice to make.
pub(super) fn attach(device: BorrowedFd<'_>, queues: u16) -> Steering {
    if queues <= 1 {
        return Steering::Unneeded;
    }
    match try_attach(device, queues) {
        Ok(()) => Steering::Attached,
        Err(refusal) => Steering::Refused(refusal),
    }
}

fn try_attach(device: BorrowedFd<'_>, queues: u16) -> io::Result<()> {
    let program = bpf::load(Kind::SocketFilter, "tapestry_steer", &program(queues))
        .map_err(tried("loading the steering program"))?;
    tun::set_steering(device, program.as_fd()).map_err(tried("attaching the steering program"))
}

/// Where L3 starts, without a tag and behind one.
const L3_UNTAGGED: i32 = 14;
const L3_TAGGED: i32 = 18;
const _: () = assert!(L3_UNTAGGED as usize == HEADER_LEN && L3_TAGGED as usize == HEADER_LEN + TAG_LEN);

/// Protocol numbers.
const TCP: i32 = 6;
const UDP: i32 = 17;

/// Where a jump can go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    L3,
    Ipv4,
    Ipv6,
    L4,
    L4Ports,
    Hash,
}

/// The program for a device of `queues` queues: R7 is where the header being read starts, R8 the fold, R9 the next
/// protocol. R6 is the frame, as packet loads want it; they leave their value in R0, and past the end of the frame
/// they end the program with queue 0.
///
/// The modulus is taken here, because tun cuts the result to 16 bits before taking its own.
fn program(queues: u16) -> Vec<Instruction> {
    let mut code = Assembly::default();
    code.copy(R6, R1);
    code.load_absolute(HALF, 12);
    code.immediate(MOVE, R7, L3_UNTAGGED);
    code.jump(JUMP_UNLESS_EQUAL, R0, i32::from(ETHERTYPE_VLAN), Label::L3);
    code.load_absolute(HALF, 16);
    code.immediate(MOVE, R7, L3_TAGGED);

    code.label(Label::L3);
    code.jump(JUMP_IF_EQUAL, R0, i32::from(ETHERTYPE_IPV4), Label::Ipv4);
    code.jump(JUMP_IF_EQUAL, R0, i32::from(ETHERTYPE_IPV6), Label::Ipv6);
    code.immediate(MOVE, R0, 0);
    code.exit();

    code.label(Label::Ipv4);
    code.immediate(MOVE, R8, 0);
    code.fold_words(&[12, 16]);
    code.load(HALF, 6);
    code.immediate(AND, R0, 0x3fff);
    code.jump(JUMP_UNLESS_EQUAL, R0, 0, Label::Hash); // A fragment: addresses only.
    code.load(BYTE, 9);
    code.copy(R9, R0);
    code.load(BYTE, 0);
    code.immediate(AND, R0, 15);
    code.immediate(SHIFT_LEFT, R0, 2);
    code.register(ADD_REGISTER, R7, R0);
    code.jump(JUMP, R0, 0, Label::L4);

    code.label(Label::Ipv6);
    code.immediate(MOVE, R8, 0);
    code.fold_words(&[8, 12, 16, 20, 24, 28, 32, 36]);
    code.load(BYTE, 6);
    code.copy(R9, R0);
    code.immediate(ADD, R7, 40);

    code.label(Label::L4);
    code.jump(JUMP_IF_EQUAL, R9, TCP, Label::L4Ports);
    code.jump(JUMP_UNLESS_EQUAL, R9, UDP, Label::Hash);
    code.label(Label::L4Ports);
    for at in [0, 2] {
        code.load(HALF, at);
        code.immediate(SHIFT_LEFT, R0, 16);
        code.register(XOR_REGISTER, R8, R0);
    }

    code.label(Label::Hash);
    code.immediate_64(R1, flow::MULTIPLIER);
    code.register(MULTIPLY_REGISTER, R8, R1);
    code.immediate(SHIFT_RIGHT, R8, 32);
    code.immediate(MODULO, R8, i32::from(queues));
    code.copy(R0, R8);
    code.exit();
    code.finish()
}
