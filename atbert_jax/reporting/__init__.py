"""What people look at: tables, plots and pages of HTML."""
