"""Taking repositories from the Hub and giving them back; never imports torch."""
