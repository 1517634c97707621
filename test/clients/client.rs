// Rust's reqwest, unmodified: asks once and prints the answer.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let answer = reqwest::blocking::Client::new()
        .post("https://api.openai.com/v1/responses")
        .bearer_auth(std::env::var("OPENAI_API_KEY")?)
        .header("content-type", "application/json")
        .body(r#"{"model":"gpt-5","input":"hi"}"#)
        .send()?;
    println!("{}", answer.text()?);
    Ok(())
}
