//! Serves a notice board on 127.0.0.1:3000, or on the address that is given: `cargo run -p service [ADDRESS]`.

use service::{Board, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, Board::default()).await
}
