"""pointsman beside nginx, HAProxy, Envoy and Caddy: the parts that benches/peers/run is made of."""
