"""`measure-costs`: the rates of this machine, fitted to times of small networks."""
