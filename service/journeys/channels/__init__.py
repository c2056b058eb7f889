"""Ways to hand a message over: files, SMTP, signed webhooks. Each tells honestly whether it was taken."""
