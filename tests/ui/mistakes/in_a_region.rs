use contempo::shared::Shared;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared = Shared::open("/dev/shm/none")?;
    let stock = shared.root("stock", 1_u32)?;
    shared.atomically(|tx| {
        tx.write(stock, &"7".parse::<u32>()?);
        Ok(())
    })?;
    Ok(())
}
