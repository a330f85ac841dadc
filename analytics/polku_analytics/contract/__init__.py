"""The tracking plan against the events that were really sent: drafted from them, tried on them, compared with them."""
