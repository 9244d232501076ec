//! What is heard: questions that we answer, answers and announcements that we learn from.

use core::net::Ipv6Addr;

use wire::ethernet::{EthernetHeader, HEADER_LEN};
use wire::{DomainId, DropReason, FrameBuf, Instant, Mac};

use super::learn::Evidence;
use super::table::NeighbourName;
use super::{Heard, Neighbours, advertise, arp, nd};
use crate::packet::Packet;
use crate::turn::Turn;

impl Neighbours {
    /// An ARP frame in a domain: to us or to a group.
    ///
    /// # Errors
    /// Only of a frame to our MAC: `route.malformed-arp`, or `route.no-service` if it has nothing to do with us. Of a
    /// question for an address of ours also `route.answer-rate`.
    pub fn hear_arp(
        &mut self,
        turn: &mut Turn,
        domain: DomainId,
        header: &EthernetHeader,
        frame: &mut FrameBuf,
    ) -> Result<Heard, DropReason> {
        let Some(link) = self.link(domain) else { return Ok(Heard::Pass) };
        let our_mac = link.mac;
        let is_direct = header.dst == our_mac;
        let packet = frame.bytes().get(HEADER_LEN..).unwrap_or_default();
        let message = match arp::Message::parse(packet) {
            Ok(message) => message,
            Err(reason) if is_direct => return Err(reason),
            Err(_) => return Ok(Heard::Pass), // It names nobody; what it may mean to others is not ours to judge.
        };
        let is_for_us = link.owns(message.target_ip.into());
        let is_question = is_for_us && message.is_question();
        let is_answer = is_for_us && is_direct && message.is_answer();
        let sender = NeighbourName { domain, address: message.sender_ip.into() };
        let is_conflict = link.owns(sender.address) && message.sender_mac != our_mac;
        if is_conflict {
            self.defend(turn, domain, sender.address, message.sender_mac);
        } else if message.sender_mac == header.src {
            let evidence = if is_question {
                Evidence::Question
            } else if is_answer {
                Evidence::Answer { overrides: true }
            } else {
                Evidence::Announcement { overrides: true }
            };
            self.learn(turn, sender, Some(message.sender_mac), evidence);
        }
        if is_question {
            self.take_answer(turn.now, domain)?;
            message.reply(our_mac).emit(header.src, frame);
            return Ok(Heard::Answer);
        }
        match is_direct {
            true if is_answer || is_conflict => Ok(Heard::Consumed),
            true => Err(DropReason::NoService),
            false => Ok(Heard::Pass),
        }
    }

    /// An IPv6 packet in a domain: to us or to a group. What is no neighbour or router solicitation or neighbour
    /// advertisement that concerns us passes.
    ///
    /// # Errors
    /// `route.malformed-ip` if it concerns us and must not be believed, `route.answer-rate`.
    pub fn hear_nd(
        &mut self,
        turn: &mut Turn,
        domain: DomainId,
        header: &EthernetHeader,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Heard, DropReason> {
        let Some(link) = self.link(domain) else { return Ok(Heard::Pass) };
        let our_mac = link.mac;
        let Some(message) = nd::Message::of(packet, frame) else { return Ok(Heard::Pass) };
        let named = |mac: Mac| Some(mac).filter(|&mac| mac == header.src);
        let asker = NeighbourName { domain, address: message.src.into() };
        let whole = if header.dst == our_mac { Heard::Consumed } else { Heard::Pass };
        match (message.kind, message.target()) {
            (nd::SOLICITATION, Some(target)) if link.owns(target.into()) => {
                let mac = message.check_solicitation()?;
                let is_probe = message.src.is_unspecified();
                let is_claimed = link.owns(asker.address) && header.src != our_mac;
                let to = (!is_probe).then_some((header.src, message.src));
                if let Some(mac) = mac.and_then(named) {
                    self.learn(turn, asker, Some(mac), Evidence::Question);
                }
                if is_claimed {
                    self.defend(turn, domain, asker.address, header.src);
                }
                self.take_answer(turn.now, domain)?;
                nd::emit_answer(target, our_mac, to, frame);
                Ok(Heard::Answer)
            }
            (nd::ADVERTISEMENT, Some(target)) => {
                let name = NeighbourName { domain, address: target.into() };
                let is_ours = link.owns(name.address);
                if !is_ours && self.table.find(name).is_none() {
                    return Ok(if link.owns(packet.dst) { whole } else { Heard::Pass });
                }
                let (flags, mac) = message.check_advertisement()?;
                let overrides = flags.overrides;
                let evidence = if flags.is_solicited {
                    Evidence::Answer { overrides }
                } else {
                    Evidence::Announcement { overrides }
                };
                if is_ours && header.src != our_mac {
                    self.defend(turn, domain, name.address, header.src);
                } else if mac.is_none() || mac.and_then(named).is_some() {
                    self.learn(turn, name, mac, evidence);
                }
                Ok(whole)
            }
            (nd::ROUTER_SOLICITATION, _) if link.advertiser.is_some() => {
                let mac = message.check_router_solicitation()?;
                let to = (header.src, message.src);
                if let Some(mac) = mac.and_then(named) {
                    self.learn(turn, asker, Some(mac), Evidence::Question);
                }
                self.hear_router_solicitation(turn, domain, to)?;
                Ok(whole)
            }
            _ => Ok(Heard::Pass),
        }
    }

    /// Takes a token for an answer in a domain with a link.
    fn take_answer(&mut self, now: Instant, domain: DomainId) -> Result<(), DropReason> {
        let granted = self.link_mut(domain).is_some_and(|link| link.answers.take(now));
        if granted { Ok(()) } else { Err(DropReason::AnswerRate) }
    }

    fn hear_router_solicitation(
        &mut self,
        turn: &mut Turn,
        domain: DomainId,
        (mac, address): (Mac, Ipv6Addr),
    ) -> Result<(), DropReason> {
        if address.is_unspecified() {
            self.reschedule(domain, |advertiser, rng| advertiser.hurry(turn.now, rng));
            return Ok(());
        }
        self.take_answer(turn.now, domain)?;
        if let Some(link) = self.link(domain).filter(|_| turn.has_room()) {
            let mut frame = turn.buffer();
            advertise::emit(link, advertise::ROUTER_LIFETIME, Some((mac, address)), &mut frame);
            turn.send(domain, frame);
        }
        Ok(())
    }
}
