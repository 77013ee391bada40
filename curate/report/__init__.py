"""What a run says about itself: its numbers as plain data, the dataset card made of them, the HTML report, charts."""
