"""What is done by the clock: daily reports, rolled outcomes, news of models."""
