//! The travel agency of STAMP's `vacation`: tables of cars, flights and rooms, and of customers
//! with what they have reserved.
//!
//! What a transaction does is written once, over a [`Store`]; a store is plain maps, locked tables,
//! or maps of transactional variables.

use super::skip_list::SkipList;
use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

/// How many kinds of things can be reserved: cars, flights, rooms.
pub(crate) const KINDS: usize = 3;

/// Something that can be reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    pub(crate) used: u64,
    pub(crate) free: u64,
    pub(crate) price: u64,
}

/// What a customer has reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reserved {
    pub(crate) kind: usize,
    pub(crate) id: u64,
    pub(crate) price: u64,
}

/// What is asked of the agency.
pub(crate) enum Request {
    /// Of these (kind, id), reserve the most expensive one of each kind that is free.
    Reserve { customer: u64, wanted: Vec<(usize, u64)> },
    /// Give back all that this customer has, and forget the customer.
    Leave { customer: u64 },
    /// Of these (kind, id), add a hundred at a new price, or take a hundred away if free.
    Change { items: Vec<(usize, u64, Option<u64>)> },
}

impl Request {
    /// The kinds of tables that it may touch.
    fn kinds(&self) -> [bool; KINDS] {
        let mut touched = [false; KINDS];
        match self {
            Request::Reserve { wanted, .. } => {
                wanted.iter().for_each(|(kind, _)| touched[*kind] = true);
            }
            Request::Leave { .. } => touched = [true; KINDS],
            Request::Change { items } => {
                items.iter().for_each(|(kind, ..)| touched[*kind] = true);
            }
        }
        touched
    }
}

/// The tables, as a transaction sees them.
trait Store {
    type Stop;

    fn item(&mut self, kind: usize, id: u64) -> Result<Option<Item>, Self::Stop>;

    /// Replaces an item by what `change` makes of it; none is none.
    fn change(
        &mut self,
        kind: usize,
        id: u64,
        change: impl FnOnce(Option<Item>) -> Option<Item>,
    ) -> Result<(), Self::Stop>;

    /// Adds to what a customer has; makes the customer if need be.
    fn book(&mut self, customer: u64, reserved: Reserved) -> Result<(), Self::Stop>;

    /// Removes a customer, and gives back what there was on the list.
    fn forget(&mut self, customer: u64) -> Result<Vec<Reserved>, Self::Stop>;
}

/// In lots of so many things the agency adds and removes.
const LOT: u64 = 100;

fn serve<T: Store>(store: &mut T, request: &Request) -> Result<(), T::Stop> {
    match request {
        Request::Reserve { customer, wanted } => {
            let mut best: [Option<(u64, u64)>; KINDS] = [None; KINDS];
            for &(kind, id) in wanted {
                if let Some(item) = store.item(kind, id)?
                    && item.free > 0
                    && best[kind].is_none_or(|(_, price)| item.price > price)
                {
                    best[kind] = Some((id, item.price));
                }
            }
            for (kind, best) in best.into_iter().enumerate() {
                let Some((id, price)) = best else { continue };
                store.change(kind, id, |item| {
                    let Item { used, free, price } = item?;
                    Some(Item { used: used + 1, free: free.saturating_sub(1), price })
                })?;
                store.book(*customer, Reserved { kind, id, price })?;
            }
        }
        Request::Leave { customer } => {
            for Reserved { kind, id, .. } in store.forget(*customer)? {
                store.change(kind, id, |item| {
                    let Item { used, free, price } = item?;
                    Some(Item { used: used.saturating_sub(1), free: free + 1, price })
                })?;
            }
        }
        Request::Change { items } => {
            for &(kind, id, price) in items {
                store.change(kind, id, |item| match (item, price) {
                    (Some(item), Some(price)) => {
                        Some(Item { free: item.free + LOT, price, ..item })
                    }
                    (None, Some(price)) => Some(Item { used: 0, free: LOT, price }),
                    (Some(item), None) if item.free >= LOT => {
                        let rest = Item { free: item.free - LOT, ..item };
                        (rest.used + rest.free > 0).then_some(rest)
                    }
                    (item, None) => item,
                })?;
            }
        }
    }
    Ok(())
}

/// Everything that the agency knows, to be checked.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) tables: [BTreeMap<u64, Item>; KINDS],
    pub(crate) customers: BTreeMap<u64, Vec<Reserved>>,
}

/// A travel agency.
pub(crate) trait Agency: Send + Sync + 'static {
    /// With these things and customers.
    fn open(books: Books) -> Self;

    /// Does what is asked, all or nothing.
    fn serve(&self, request: &Request);

    /// Everything, as it is at one moment.
    fn books(&self) -> Books;
}

/// A workload at an agency.
pub(crate) trait OnAgency {
    /// The trial for this agency.
    fn trial<A: Agency>(self) -> Box<dyn Trial>;
}

impl Clone for Books {
    fn clone(&self) -> Self {
        Books { tables: self.tables.clone(), customers: self.customers.clone() }
    }
}

fn change_in(
    table: &mut BTreeMap<u64, Item>,
    id: u64,
    change: impl FnOnce(Option<Item>) -> Option<Item>,
) {
    match table.get_mut(&id) {
        Some(item) => match change(Some(*item)) {
            Some(changed) => *item = changed,
            None => drop(table.remove(&id)),
        },
        None => {
            if let Some(item) = change(None) {
                table.insert(id, item);
            }
        }
    }
}

impl Store for Books {
    type Stop = Infallible;

    fn item(&mut self, kind: usize, id: u64) -> Result<Option<Item>, Infallible> {
        Ok(self.tables[kind].get(&id).copied())
    }

    fn change(
        &mut self,
        kind: usize,
        id: u64,
        change: impl FnOnce(Option<Item>) -> Option<Item>,
    ) -> Result<(), Infallible> {
        change_in(&mut self.tables[kind], id, change);
        Ok(())
    }

    fn book(&mut self, customer: u64, reserved: Reserved) -> Result<(), Infallible> {
        self.customers.entry(customer).or_default().push(reserved);
        Ok(())
    }

    fn forget(&mut self, customer: u64) -> Result<Vec<Reserved>, Infallible> {
        Ok(self.customers.remove(&customer).unwrap_or_default())
    }
}

/// Plain tables behind one guard.
pub(crate) struct Guarded<G>(G);

impl<G: Guard<Books>> Agency for Guarded<G> {
    fn open(books: Books) -> Self {
        Guarded(G::guard(books))
    }

    fn serve(&self, request: &Request) {
        self.0.write(|books| {
            let Ok(()) = serve(books, request);
        });
    }

    fn books(&self) -> Books {
        self.0.read(Books::clone)
    }
}

/// A mutex per table, taken in order: first those of things, then that of customers.
pub(crate) struct Ordered<T, C> {
    tables: [T; KINDS],
    customers: C,
}

/// The tables that a request has locked.
struct Locked<T, C> {
    tables: [Option<T>; KINDS],
    customers: Option<C>,
}

type Table = BTreeMap<u64, Item>;
type Customers = BTreeMap<u64, Vec<Reserved>>;

impl<T, C> Store for Locked<T, C>
where
    T: std::ops::DerefMut<Target = Table>,
    C: std::ops::DerefMut<Target = Customers>,
{
    type Stop = Infallible;

    fn item(&mut self, kind: usize, id: u64) -> Result<Option<Item>, Infallible> {
        Ok(self.tables[kind].as_ref().expect("it was locked").get(&id).copied())
    }

    fn change(
        &mut self,
        kind: usize,
        id: u64,
        change: impl FnOnce(Option<Item>) -> Option<Item>,
    ) -> Result<(), Infallible> {
        change_in(self.tables[kind].as_mut().expect("it was locked"), id, change);
        Ok(())
    }

    fn book(&mut self, customer: u64, reserved: Reserved) -> Result<(), Infallible> {
        let customers = self.customers.as_mut().expect("it was locked");
        customers.entry(customer).or_default().push(reserved);
        Ok(())
    }

    fn forget(&mut self, customer: u64) -> Result<Vec<Reserved>, Infallible> {
        let customers = self.customers.as_mut().expect("it was locked");
        Ok(customers.remove(&customer).unwrap_or_default())
    }
}

impl<T: Monitor<Table>, C: Monitor<Customers>> Agency for Ordered<T, C> {
    fn open(Books { tables, customers }: Books) -> Self {
        Ordered { tables: tables.map(T::monitor), customers: C::monitor(customers) }
    }

    fn serve(&self, request: &Request) {
        let kinds = request.kinds();
        let mut tables = [None, None, None];
        for (kind, table) in tables.iter_mut().enumerate() {
            *table = kinds[kind].then(|| self.tables[kind].enter());
        }
        let of_customer = !matches!(request, Request::Change { .. });
        let customers = of_customer.then(|| self.customers.enter());
        let Ok(()) = serve(&mut Locked { tables, customers }, request);
    }

    fn books(&self) -> Books {
        let tables = self.tables.each_ref().map(T::enter);
        let customers = self.customers.enter();
        Books { tables: tables.map(|table| table.clone()), customers: customers.clone() }
    }
}

/// Sorted maps of transactional variables.
pub(crate) struct Variables<S: Stm> {
    tables: [SkipList<S, Item>; KINDS],
    customers: SkipList<S, Vec<Reserved>>,
}

/// The tables in a transaction.
struct Within<'a, 't, S: Stm> {
    agency: &'a Variables<S>,
    tx: &'a S::Tx<'t>,
}

impl<S: Stm> Store for Within<'_, '_, S> {
    type Stop = S::Stop;

    fn item(&mut self, kind: usize, id: u64) -> Result<Option<Item>, S::Stop> {
        match self.agency.tables[kind].find(self.tx, id)? {
            Some(found) => Ok(Some(*self.tx.read(found.value())?)),
            None => Ok(None),
        }
    }

    fn change(
        &mut self,
        kind: usize,
        id: u64,
        change: impl FnOnce(Option<Item>) -> Option<Item>,
    ) -> Result<(), S::Stop> {
        let (table, tx) = (&self.agency.tables[kind], self.tx);
        if let Some(found) = table.find(tx, id)? {
            let item = *tx.read(found.value())?;
            match change(Some(item)) {
                Some(changed) => S::write(tx, found.value(), changed)?,
                None => drop(table.remove(tx, id)?),
            }
        } else if let Some(item) = change(None) {
            table.insert(tx, id, item)?;
        }
        Ok(())
    }

    fn book(&mut self, customer: u64, reserved: Reserved) -> Result<(), S::Stop> {
        let (customers, tx) = (&self.agency.customers, self.tx);
        if let Some(found) = customers.find(tx, customer)? {
            return S::modify(tx, found.value(), |list| {
                list.iter().copied().chain([reserved]).collect()
            });
        }
        customers.insert(tx, customer, vec![reserved]).map(|_| ())
    }

    fn forget(&mut self, customer: u64) -> Result<Vec<Reserved>, S::Stop> {
        let (customers, tx) = (&self.agency.customers, self.tx);
        let Some(found) = customers.find(tx, customer)? else { return Ok(Vec::new()) };
        let list = tx.read(found.value())?.clone();
        customers.remove(tx, customer)?;
        Ok(list)
    }
}

impl<S: Stm> Agency for Variables<S> {
    fn open(Books { tables, customers }: Books) -> Self {
        Variables { tables: tables.map(SkipList::filled), customers: SkipList::filled(customers) }
    }

    fn serve(&self, request: &Request) {
        S::atomically(|tx| serve(&mut Within { agency: self, tx }, request));
    }

    fn books(&self) -> Books {
        S::look(|view| {
            let mut books = Books::default();
            for (table, found) in self.tables.iter().zip(&mut books.tables) {
                table.walk(view, Bound::Unbounded, |node| {
                    found.insert(node.key, *view.read(&node.value)?);
                    Ok(true)
                })?;
            }
            self.customers.walk(view, Bound::Unbounded, |node| {
                books.customers.insert(node.key, view.read(&node.value)?.clone());
                Ok(true)
            })?;
            Ok(books)
        })
    }
}

/// An agency that goes wrong.
pub(crate) struct Faulty {
    agency: Guarded<std::sync::Mutex<Books>>,
    breakage: Breakage,
}

impl Agency for Faulty {
    fn open(books: Books) -> Self {
        Faulty { agency: Agency::open(books), breakage: Breakage::planted() }
    }

    fn serve(&self, request: &Request) {
        self.agency.serve(request);
        if let Request::Reserve { customer, .. } = request {
            self.agency.0.write(|books| {
                let list = books.customers.entry(*customer).or_default();
                if self.breakage.strikes(Fault::HalfUpdate) {
                    list.pop();
                }
                if self.breakage.strikes(Fault::Twice) {
                    list.extend(list.last().copied());
                }
            });
        }
    }

    fn books(&self) -> Books {
        self.agency.books()
    }
}

fn later<A: Agency>(workload: impl OnAgency + 'static) -> Maker {
    Box::new(move || workload.trial::<A>())
}

/// Makes trials of a workload at an agency; none if this contender has none. To copy all tables for
/// each request is hopeless, and no request only reads: so no `arc-swap` and no `RwLock`.
pub(crate) fn maker(contender: &Contender, workload: impl OnAgency + 'static) -> Option<Maker> {
    use parking_lot::Mutex as ParkingLot;
    use std::sync::Mutex as Std;
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::AsyncStm => later::<Variables<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<Std<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<ParkingLot<_>>>(workload),
        Family::OrderedStd => later::<Ordered<Std<_>, Std<_>>>(workload),
        Family::OrderedParkingLot => later::<Ordered<ParkingLot<_>, ParkingLot<_>>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
