//! `tapestry trace`: what a switch would do with a packet, and why. Of the running switch, or of a configuration file,
//! which needs neither root nor a daemon.

use std::path::{Path, PathBuf};

use clap::Args;
use config::Lines;
use node::Node;
use serde::Serialize;
use sim::capture::{CaptureReader, Packet};
use sim::trace::{Explained, Question, Scene, Verdict};
use wire::Instant;

use super::client::Client;
use super::{Common, Failure, ask::answer, read_configuration};
use crate::api::{ApiError, ErrorKind};
use crate::supervisor::refusal;

/// Exit code of a packet that goes no further.
const DROPPED: u8 = 10;
/// When a packet comes to a switch that exists only in its configuration; nothing depends on it.
const NOW: Instant = Instant::from_secs(1_000_000);

/// `tapestry trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The packet: `tcp|udp|icmp|arp SOURCE > DESTINATION [flags=S] [ttl=64] [len=0] [vlan=10] [src=MAC] [dst=MAC]`
    #[arg(required_unless_present_any = ["frame", "pcap"], num_args = 1..)]
    pub packet: Vec<String>,
    /// The port that it comes in through
    #[arg(long = "in", value_name = "PORT")]
    pub port: String,
    /// The frame as hexadecimal digits, from the destination address on
    #[arg(long, value_name = "HEX", conflicts_with = "packet")]
    pub frame: Option<String>,
    /// Take the frame from this capture (pcap or pcapng)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["packet", "frame"], requires = "number")]
    pub pcap: Option<PathBuf>,
    /// Which packet of the capture, from 1
    #[arg(long = "packet", id = "number", value_name = "NUMBER", requires = "pcap")]
    pub number: Option<u64>,
    /// Follow the answer too
    #[arg(long)]
    pub both: bool,
    /// Ask this configuration file, in which every configured station has spoken, and not the running switch
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask two configuration files, and say where they differ: exit 1 if they do
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "config")]
    pub diff: Option<Vec<PathBuf>>,
}

/// What a change of the configuration would change for a packet.
#[derive(Serialize)]
struct Difference {
    old: Vec<Explained>,
    new: Vec<Explained>,
    differs: bool,
}

/// `tapestry trace`
pub fn trace(args: &TraceArgs, common: &Common) -> Result<(), Failure> {
    let question = Question {
        port: args.port.clone(),
        packet: (!args.packet.is_empty()).then(|| args.packet.join(" ")),
        frame: args
            .pcap
            .as_deref()
            .map(|file| packet_of(file, args.number))
            .transpose()?
            .or(args.frame.clone()),
        both: args.both,
    };
    if let Some([old, new]) = args.diff.as_deref() {
        return compare(&question, old, new, common);
    }
    let explained: Vec<Explained> = match &args.config {
        Some(file) => ask_file(&question, file, common)?.0,
        None => Client::new(&common.socket)?.post("/v1/trace", &question)?,
    };
    answer(common, &explained, |explained| show(explained))?;
    let is_dropped = explained.iter().any(|explained| explained.verdict == Verdict::Drop);
    if is_dropped { Err(Failure::Said(DROPPED)) } else { Ok(()) }
}

/// What the switch of a configuration file does, and where: whether the lines are the same is no difference.
fn ask_file(
    question: &Question,
    file: &Path,
    common: &Common,
) -> Result<(Vec<Explained>, Vec<String>), Failure> {
    let (text, config) = read_configuration(file, common)?;
    let compiled = config::compile(&config, &mut config::Ids::default());
    let (name, lines) = (file.display().to_string(), Lines::of(&text));
    let scene = Scene { config: &config, compiled: &compiled, name: &name, lines: &lines };
    let node: Node = scene.warm(NOW);
    let explained =
        scene.ask(&node, NOW, question).map_err(|error| Failure::Refused(refusal(question, &error)))?;
    let without_lines = explained.iter().flat_map(|explained| {
        let steps = explained.steps.iter().map(|line| format!("{:<8} {}", line.room, line.text));
        steps.chain([verdict(explained)])
    });
    let without_lines = without_lines.collect();
    Ok((explained, without_lines))
}

fn compare(question: &Question, old: &Path, new: &Path, common: &Common) -> Result<(), Failure> {
    let (old, old_lines) = ask_file(question, old, common)?;
    let (new, new_lines) = ask_file(question, new, common)?;
    let differs = old_lines != new_lines;
    let difference = Difference { old, new, differs };
    answer(common, &difference, |_| {
        if !differs {
            return format!("no difference\n{}", show(&difference.new));
        }
        // Both are short, and mostly equal at their beginning.
        let same = old_lines.iter().zip(&new_lines).take_while(|(old, new)| old == new).count();
        let line = |sign: &str, line: &String| format!("{sign} {line}\n");
        let before = old_lines[..same].iter().map(|text| line(" ", text));
        let gone = old_lines[same..].iter().map(|text| line("-", text));
        let come = new_lines[same..].iter().map(|text| line("+", text));
        before.chain(gone).chain(come).collect()
    })?;
    if differs { Err(Failure::Said(1)) } else { Ok(()) }
}

/// A packet of a capture as hexadecimal digits.
fn packet_of(file: &Path, number: Option<u64>) -> Result<String, Failure> {
    let wrong = |why: String| Failure::invalid("the capture", why);
    let mut reader = CaptureReader::open(file).map_err(|error| wrong(error.to_string()))?;
    let mut packet = Packet::empty();
    let number = number.unwrap_or(1);
    while reader.read(&mut packet).map_err(|error| wrong(error.to_string()))? {
        if packet.number == number {
            return Ok(packet.frame().iter().map(|octet| format!("{octet:02x}")).collect());
        }
    }
    let why = format!("{} has {} packets, and no packet {number}", file.display(), packet.number);
    Err(Failure::Refused(ApiError::new(ErrorKind::NotFound, "the capture", why)))
}

fn show(explained: &[Explained]) -> String {
    explained.iter().map(show_one).collect::<Vec<_>>().join("\n")
}

fn show_one(explained: &Explained) -> String {
    let mut text = format!("{}: {}\n", explained.port, explained.packet);
    for (number, line) in explained.steps.iter().enumerate() {
        let number = number + 1;
        let source = line.source.as_ref().map_or_else(String::new, |source| format!("   [{source}]"));
        text += &format!("{number:>3} {:<8} {}{source}\n", line.room, line.text);
    }
    text += &format!("{}\n", verdict(explained));
    if let Some(advice) = explained.advice.as_ref().filter(|advice| !advice.is_empty()) {
        text += &format!("  next: {advice}\n");
    }
    text
}

fn verdict(explained: &Explained) -> String {
    let reason = explained.reason.as_ref().map_or_else(String::new, |reason| format!(" {reason}"));
    format!("verdict: {}{reason}", explained.verdict.as_str())
}
