//! `tapestry fault …`: what a bad wire would do to a live port's frames, on purpose.

use clap::{Args, Subcommand};
use hyper::Method;
use sim::link::Share;
use sim::world::{BurstSpec, FaultSpec, FlapSpec, Percent, Rate, Size, Span};

use super::client::{Client, path};
use super::table::{Align, Table, count};
use super::{Common, Failure};
use crate::api::{FaultChange, FaultInfo, FaultLane, words};

/// `tapestry fault …`
#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// Set faults on a port; what is not named stays as it is
    Set(Box<FaultArgs>),
    /// Ports with faults, what is asked for and what was done
    Ls,
    /// End the faults of ports: what is held back arrives at once
    Clear {
        /// The ports
        #[arg(required = true, value_name = "PORT")]
        ports: Vec<String>,
    },
}

/// `tapestry fault set`
#[derive(Debug, Args)]
pub struct FaultArgs {
    /// The port; the uplink's is called uplink
    pub port: String,
    /// Only frames from the station to the switch
    #[arg(long = "in", conflicts_with = "outwards")]
    pub inwards: bool,
    /// Only frames from the switch to the station
    #[arg(long = "out")]
    pub outwards: bool,
    /// Whether anything passes
    #[arg(long, value_name = "BOOL")]
    pub up: Option<bool>,
    /// Go down again and again: how often, and for how long each time, as in 10s,500ms; a down time of 0s ends it
    #[arg(long, value_name = "EVERY,DOWN", value_parser = flap)]
    pub flap: Option<FlapSpec>,
    /// Bits per second, as in 10mbit
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Octets that wait at most because of the rate, as in 64KiB
    #[arg(long, value_name = "SIZE")]
    pub queue: Option<Size>,
    /// From one end to the other, as in 20ms
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,
    /// At most this much more, all equally likely; the order stays
    #[arg(long, value_name = "TIME")]
    pub jitter: Option<Span>,
    /// Frames lost, each on its own, as in 0.5%
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<Percent>,
    /// Frames lost in bursts: from the good state to the bad, back, and lost in the bad one (default all), as in 1%,25%
    #[arg(long, value_name = "ENTER,LEAVE[,LOSS]", value_parser = burst)]
    pub burst: Option<BurstSpec>,
    /// Frames that arrive twice
    #[arg(long, value_name = "PERCENT")]
    pub duplicate: Option<Percent>,
    /// Frames that are held back, so that later ones overtake them
    #[arg(long, value_name = "PERCENT")]
    pub reorder: Option<Percent>,
    /// For how long
    #[arg(long, value_name = "TIME")]
    pub reorder_by: Option<Span>,
    /// Frames that arrive with one bit flipped
    #[arg(long, value_name = "PERCENT")]
    pub corrupt: Option<Percent>,
    /// Where chance comes from; default: as before, at first a random number, which `fault ls` tells
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

fn flap(text: &str) -> Result<FlapSpec, String> {
    let (every, down) = text.split_once(',').ok_or("two times with a comma, as in 10s,500ms")?;
    FlapSpec::new(every.parse()?, down.parse()?)
}

fn burst(text: &str) -> Result<BurstSpec, String> {
    let shares: Result<Vec<Percent>, _> = text.split(',').map(str::parse).collect();
    match shares?[..] {
        [enter, leave] => Ok(BurstSpec { enter, leave, loss: Percent(Share::ALL) }),
        [enter, leave, loss] => Ok(BurstSpec { enter, leave, loss }),
        _ => Err("two or three shares with commas, as in 1%,25%".to_owned()),
    }
}

impl FaultArgs {
    fn change(&self) -> FaultChange {
        let spec = FaultSpec {
            up: self.up,
            flap: self.flap,
            rate: self.rate,
            queue: self.queue,
            delay: self.delay,
            jitter: self.jitter,
            loss: self.loss,
            burst: self.burst,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_by: self.reorder_by,
            corrupt: self.corrupt,
        };
        let unless = |other: bool| if other { FaultSpec::default() } else { spec };
        FaultChange { inwards: unless(self.outwards), outwards: unless(self.inwards), seed: self.seed }
    }
}

/// `tapestry fault …`
pub fn fault(command: &FaultCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        FaultCommand::Set(args) => {
            let change = args.change();
            if change.inwards.is_empty() && change.outwards.is_empty() && change.seed.is_none() {
                return Err(Failure::invalid("fault set", "name a fault, as in --loss 1%"));
            }
            client.change(Method::POST, &path(&["faults", &args.port]), &change)
        }
        FaultCommand::Clear { ports } => {
            // One that has none is no reason to leave the others faulty; it is told when all have had their turn.
            let cleared: Vec<_> = ports.iter().map(|port| client.delete(&path(&["faults", port]))).collect();
            cleared.into_iter().collect()
        }
        FaultCommand::Ls => {
            let faults: Vec<FaultInfo> = client.get("/v1/faults")?;
            super::answer(common, &faults, |faults| show(faults))
        }
    }
}

fn show(faults: &[FaultInfo]) -> String {
    let columns = [
        ("PORT", Align::Left),
        ("WAY", Align::Left),
        ("FRAMES", Align::Right),
        ("LOST", Align::Right),
        ("TWICE", Align::Right),
        ("LATE", Align::Right),
        ("SPOILT", Align::Right),
        ("FAULTS", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for FaultInfo { port, seed, inwards, outwards } in faults {
        for (way, lane) in [("in", inwards), ("out", outwards)] {
            let FaultLane { faults, offered, down, lost, overflowed, no_room, .. } = lane;
            table.row([
                port.clone(),
                way.to_owned(),
                count(*offered),
                count(down + lost + overflowed + no_room),
                count(lane.duplicated),
                count(lane.reordered),
                count(lane.corrupted),
                format!("{} (seed {seed})", words(faults)),
            ]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        fault: FaultCommand,
    }

    #[test]
    fn a_direction_gets_what_is_named() {
        let set = |words: &str| match Line::try_parse_from(words.split(' ')).map(|line| line.fault) {
            Ok(FaultCommand::Set(args)) => Ok(args.change()),
            Ok(FaultCommand::Ls | FaultCommand::Clear { .. }) => unreachable!("it says set"),
            Err(error) => Err(error.to_string()),
        };
        let both = set("fault set c1 --loss 1% --delay 20ms --flap 10s,500ms --burst 1%,25%").unwrap();
        assert_eq!(both.inwards, both.outwards);
        assert_eq!(
            words(&both.inwards),
            "burst enter 1% leave 25% loss 100%, delay 20ms, flap down 500ms every 10s, loss 1%"
        );
        let out = set("fault set c1 --out --rate 10mbit --queue 64KiB --seed 7").unwrap();
        assert_eq!((out.inwards.is_empty(), out.seed), (true, Some(7)));
        for wrong in
            ["--loss 101%", "--loss 1", "--delay 5", "--in --out", "--flap 5s", "--burst 1%", "--rate -1bit"]
        {
            assert!(set(&format!("fault set c1 {wrong}")).is_err(), "{wrong}");
        }
        let said = set("fault set c1 --flap 1s,2s").unwrap_err();
        assert!(said.contains("down for 2s every 1s is never up; say up = false"), "{said}");
        assert!(set("fault set c1 --flap 1s,1s").is_err() && set("fault set c1 --flap 0s,0s").is_ok());
    }
}
