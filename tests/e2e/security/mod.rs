//! What a stranger, a neighbour on the machine and a careless operator cannot do: the lines of
//! `docs/SECURITY.md` that take the whole of creel to show.

mod files;
mod listening;
mod log_lines;
mod supply;
mod timing;
mod units;
