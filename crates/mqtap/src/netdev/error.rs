//! What can be wrong with netdev options. One variant for each mistake; the text names the option as typed, the reason, and what to type.

use thiserror::Error;

use super::name::OptionName;
use super::options::MAX_SEND_BUFFER;
use super::text::{
    Count, DidYouMean, Nth, Shown, Twice, Words, empty_advice, expected_fd, opened_elsewhere_advice,
    option_advice, range_of, script_advice, source_advice, standard_stream, type_advice,
};
use super::value::{NumberError, ProgramError, SizeError};
use crate::account::AccountError;
use crate::device::InvalidNamespace;
use crate::link::{MAX_MTU, MIN_MTU};
use crate::mac::NotAStation;
use crate::name;

/// A mistake in netdev options.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// There is no text at all.
    #[error("the netdev is empty; write for example `tap,id=hn0,queues=4`")]
    Empty,

    /// The text starts with an option other than `type`.
    #[error(
        "the netdev `{}` does not say its type; begin with `tap,`, as in `tap,id=hn0,queues=4`", Shown(.start)
    )]
    MissingType {
        /// The first option.
        start: String,
    },

    /// A type other than `tap`.
    #[error("`{}` is not a netdev type of mqtap, which has one: `tap`{}", Shown(.found), type_advice(.found))]
    UnsupportedType {
        /// What was given as the type.
        found: String,
    },

    /// No option of that name.
    #[error("`{}` is not an option of netdev tap{}", Shown(.option), option_advice(.option, *.suggestion))]
    UnknownOption {
        /// The name as given.
        option: String,
        /// The option it was probably meant to be.
        suggestion: Option<OptionName>,
    },

    /// Nothing between two commas.
    #[error(
        "there is nothing between two of the commas; leave one out (an unset shell variable has this effect)"
    )]
    EmptyOption,

    /// A value without a name, `=value`.
    #[error("`={}` has a value but no option name before the `=`", Shown(.value))]
    MissingName {
        /// What follows the equals sign.
        value: String,
    },

    /// The same option twice.
    #[error(
        "{option}= is given twice, as `{}` and as `{}`; leave one of them out (QEMU would silently use the last)", Shown(.first), Shown(.second)
    )]
    Duplicate {
        /// The option.
        option: OptionName,
        /// Its value the first time.
        first: String,
        /// Its value the second time.
        second: String,
    },

    /// The bare name of an option that is not on or off, optionally after `no`. QEMU reads it as the value `on` or `off`.
    #[error("`{word}` alone says nothing: {option}= wants a value, for example `{}`{}", .option.example(), script_advice(*.option))]
    MissingValue {
        /// The word as given.
        word: String,
        /// The option it names.
        option: OptionName,
    },

    /// An option with nothing after the equals sign.
    #[error("{option}= is empty: {}", empty_advice(*.option))]
    EmptyValue {
        /// The option.
        option: OptionName,
    },

    /// A comma in a value that cannot have one, from a doubled comma in the text.
    #[error(
        "`{option}={}` is one value with a comma in it, because `,,` stands for a comma inside a value; write a single comma between options \
         (an unset shell variable between two commas has this effect)", Shown(.value)
    )]
    CommaInValue {
        /// The option.
        option: OptionName,
        /// Its value, doubled commas made single.
        value: String,
    },

    /// A comma between the elements of a list.
    #[error("a comma ends `{option}`; its elements are separated by colons: `{option}={}`", Shown(.value))]
    CommaInList {
        /// The option.
        option: OptionName,
        /// Its first elements, with colons.
        value: String,
    },

    /// The JSON form is not a JSON object of plain values.
    #[error("the netdev starts with `{{`, but it is not a JSON object of options: {message}")]
    InvalidJson {
        /// What the JSON reader says.
        message: String,
    },

    /// No `id`.
    #[error("the netdev has no id; add one, as in `tap,id=hn0`")]
    MissingId,

    /// An `id` with wrong characters.
    #[error(
        "id={}: an id starts with a letter, and goes on with letters, digits, `-`, `.` and `_`", Shown(.id)
    )]
    InvalidId {
        /// The value.
        id: String,
    },

    /// A switch that is neither on nor off.
    #[error("{option}={}: write `{option}=on` or `{option}=off`", Shown(.value))]
    InvalidSwitch {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
    },

    /// A value that is none of an option's words.
    #[error("{option}={}: the values of {option} are {}{}", Shown(.value), Words(.choices), DidYouMean(*.suggestion))]
    InvalidChoice {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// The words it knows.
        choices: &'static [&'static str],
        /// The word it was probably meant to be.
        suggestion: Option<&'static str>,
    },

    /// A value that is not the number wanted.
    #[error("{option}={}: {reason}; {option}= takes {}", Shown(.value), range_of(*.option))]
    InvalidNumber {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: NumberError,
    },

    /// A value that is not a size.
    #[error("{option}={}: {reason}", Shown(.value))]
    InvalidSize {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: SizeError,
    },

    /// A name no interface can have.
    #[error("{option}: {source}")]
    InvalidInterfaceName {
        /// `ifname` or `br`.
        option: OptionName,
        /// What is wrong with it.
        source: name::InvalidName,
    },

    /// A `%` in the name of a bridge.
    #[error("br={}: a bridge exists and is named exactly; only ifname= takes a pattern like `tap%d`", Shown(.name))]
    BridgePattern {
        /// The name.
        name: String,
    },

    /// A path that cannot be run.
    #[error("{option}={}: {reason}", Shown(.value))]
    InvalidProgram {
        /// `script`, `downscript` or `helper`.
        option: OptionName,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: ProgramError,
    },

    /// A file descriptor given by name.
    #[error(
        "{option}={}: `{}` is not a number; QEMU looks such names up in its monitor (getfd), which mqtap does not have: give the number of \
         an open file descriptor that mqtap inherits", Shown(.value), Shown(.name)
    )]
    NamedFd {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// The name.
        name: String,
    },

    /// A file descriptor that starts like a number but is none.
    #[error("{option}={}: `{}` is not a file descriptor number; they are decimal", Shown(.value), Shown(.number))]
    MalformedFd {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// The part at fault.
        number: String,
    },

    /// A negative file descriptor.
    #[error("{option}: {number} is not a file descriptor; they are not negative")]
    NegativeFd {
        /// The option.
        option: OptionName,
        /// The number, as given.
        number: String,
    },

    /// A file descriptor above the range of a C `int`.
    #[error("{option}: {number} is too large for a file descriptor; no process has more than {}", i32::MAX)]
    FdTooLarge {
        /// The option.
        option: OptionName,
        /// The number, as given.
        number: String,
    },

    /// Standard input, output or error.
    #[error(
        "{option}: file descriptor {fd} is {}, not {}; pass it as 3 or above", standard_stream(*.fd), expected_fd(*.option)
    )]
    StandardStreamFd {
        /// The option.
        option: OptionName,
        /// 0, 1 or 2.
        fd: i32,
    },

    /// Nothing between two colons of a list, or at one of its ends.
    #[error("{option}={}: {} of the list is empty; separate the numbers by single colons, as in `{}`", Shown(.value), Nth(*.position), .option.example())]
    EmptyFdInList {
        /// The option.
        option: OptionName,
        /// Its value.
        value: String,
        /// Which element, from 0.
        position: usize,
    },

    /// A list where one file descriptor is wanted.
    #[error("{option}={}: {option}= takes one file descriptor; for a list write `{option}s={}`", Shown(.value), Shown(.value))]
    FdList {
        /// `fd` or `vhostfd`.
        option: OptionName,
        /// Its value.
        value: String,
    },

    /// A list without elements; from code only, since `fds=` is [`EmptyValue`](Self::EmptyValue).
    #[error("{option}= lists no file descriptor; a netdev has at least one queue")]
    NoFds {
        /// `fds` or `vhostfds`.
        option: OptionName,
    },

    /// The same file descriptor for two things.
    #[error(
        "file descriptor {fd} is given twice, {}; each queue needs its own, opened separately (a duplicate made by dup() \
         is the same queue)",
        Twice(*.first, *.second)
    )]
    DuplicateFd {
        /// The number.
        fd: i32,
        /// The option that gives it first.
        first: OptionName,
        /// The option that gives it again; may be the same.
        second: OptionName,
    },

    /// `queues=0`.
    #[error(
        "queues=0: a netdev has at least one queue; write 1 to 256, one for each CPU of the guest is usual"
    )]
    NoQueues,

    /// More queues than a tap can have.
    #[error("queues={queues}: a tap device has at most 256 queues (a limit of the kernel)")]
    TooManyQueues {
        /// How many were asked for.
        queues: u32,
    },

    /// More file descriptors than a tap can have queues.
    #[error(
        "{option}= lists {count} file descriptors: a tap device has at most 256 queues (a limit of the kernel)"
    )]
    TooManyFds {
        /// `fds` or `vhostfds`.
        option: OptionName,
        /// How many there are.
        count: usize,
    },

    /// A send buffer the kernel cannot take.
    #[error(
        "sndbuf={sndbuf}: the largest send buffer is {MAX_SEND_BUFFER} bytes; for no limit write `sndbuf=0` or leave it out"
    )]
    SendBufferTooLarge {
        /// How many bytes were asked for.
        sndbuf: u64,
    },

    /// Two of `fd`, `fds`, `queues`, `helper`.
    #[error("{first}= and {second}= cannot be given together, whatever their values: each says where the queues come from; {}", source_advice(*.first, *.second))]
    ConflictingSources {
        /// One of them.
        first: OptionName,
        /// The other.
        second: OptionName,
    },

    /// A helper and more than one queue.
    #[error(
        "queues={queues} cannot be had from this helper=: bridge helpers open a single queue and pass it back; write `helper=mqtap`, which \
         opens as many as are asked for, or leave out queues="
    )]
    HelperWithQueues {
        /// How many were asked for.
        queues: u32,
    },

    /// An option about opening an interface, with a queue that is open already.
    #[error("{option}= cannot be given with {source_option}=: {}", opened_elsewhere_advice(*.option, *.source_option))]
    NotForOpenQueues {
        /// The option that makes no sense.
        option: OptionName,
        /// `fd`, `fds` or `helper`.
        source_option: OptionName,
    },

    /// `coalesce=on` with an option that makes it impossible.
    #[error("coalesce=on contradicts {given}: {reason}; leave out one of the two")]
    CoalesceImpossible {
        /// The other option, with its value.
        given: &'static str,
        /// What it makes impossible.
        reason: &'static str,
    },

    /// `vhost=off` with another option that wants vhost.
    #[error("vhost=off contradicts {option}=, which is for vhost-net; leave out one of the two")]
    VhostOff {
        /// `vhostfd`, `vhostfds` or `vhostforce`.
        option: OptionName,
    },

    /// `vhost=try` with another option that insists on vhost.
    #[error(
        "vhost=try contradicts {option}=, which is for vhost-net and nothing else; write `vhost=on`, or leave out {option}="
    )]
    VhostTry {
        /// `vhostfd`, `vhostfds` or `vhostforce`.
        option: OptionName,
    },

    /// `engine` where the kernel moves the frames.
    #[error(
        "engine= is how mqtap moves frames, and with vhost-net the kernel moves them; leave out engine=, or write `vhost=off` or `vhost=try`"
    )]
    EngineWithVhost,

    /// `vhostfd` and `vhostfds`.
    #[error("vhostfd= and vhostfds= cannot be given together; list all in vhostfds=")]
    VhostfdAndVhostfds,

    /// Not one vhost file descriptor for each queue.
    #[error(
        "the netdev has {} but {option}= gives {}; each queue needs a /dev/vhost-net file descriptor of its own",
        Count(*.queues, "queue"), Count(*.given, "file descriptor")
    )]
    VhostFdCount {
        /// `vhostfd` or `vhostfds`.
        option: OptionName,
        /// How many queues the netdev has.
        queues: usize,
        /// How many file descriptors are given.
        given: usize,
    },
    /// A network namespace that is none.
    #[error("netns: {source}")]
    InvalidNamespace {
        /// What is wrong with it.
        source: InvalidNamespace,
    },

    /// A user or a group that is none.
    #[error("{option}: {source}")]
    InvalidAccount {
        /// `user` or `group`.
        option: OptionName,
        /// What is wrong with it.
        source: AccountError,
    },

    /// A MAC address that is none.
    #[error(
        "mac={}: it is not a MAC address such as 02:00:00:00:00:01; mac= is that of the interface, the host's end of the tap: the guest's \
         belongs to the NIC", Shown(.value)
    )]
    InvalidMac {
        /// The value.
        value: String,
    },

    /// An address that no interface can have.
    #[error("mac={mac}: {0}", mac = .0.address())]
    NotAStation(NotAStation),

    /// An MTU that no tap can have.
    #[error("mtu={mtu}: the MTU of a tap is {MIN_MTU} to {MAX_MTU} bytes")]
    MtuOutOfRange {
        /// How many bytes were asked for.
        mtu: u32,
    },

    /// `persist=on`, and a new name each time.
    #[error(
        "persist=on needs a name, as in `ifname=tap0`: an interface that gets another name each time would be left over each time"
    )]
    PersistWithoutName,
}
