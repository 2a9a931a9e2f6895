//! The admin API of the running program: who may ask, what is refused, and what an operator does with it.
//!
//! Not responsible for drains (`drain`), nor for figures (`cardinality`, `overload`).
