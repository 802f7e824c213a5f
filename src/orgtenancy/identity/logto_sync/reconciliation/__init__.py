"""What Logto answers when it is asked: all organizations compared, and made alike."""
