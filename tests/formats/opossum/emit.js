// Prints what a real opossum breaker says of itself, one line of JSON for each state. See ../README.md.
const CircuitBreaker = require('opossum')

const print = (breaker) => console.log(JSON.stringify(breaker))
const fails = async () => { throw new Error('upstream is away') }
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function main () {
  const breaker = new CircuitBreaker(fails, { name: 'payments', errorThresholdPercentage: 50, resetTimeout: 50 })
  print(breaker) // closed
  await breaker.fire().catch(() => {})
  print(breaker) // open
  await wait(100)
  print(breaker) // half-open
  breaker.close()
  print(breaker) // closed again
  breaker.disable()
  print(breaker) // disabled, and still closed by its other fields
  breaker.enable()
  breaker.open()
  breaker.disable()
  print(breaker) // disabled, and still open by its other fields
  breaker.shutdown()
  print(breaker) // shut down: neither closed nor open nor half-open
}

main()
