"""Record batches as a broker hands them over: whatever their bytes are, reading goes on behind them."""
