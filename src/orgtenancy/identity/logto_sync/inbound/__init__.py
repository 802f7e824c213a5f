"""What Logto tells by itself: webhooks, the inbox, and the worker that does what they say."""
