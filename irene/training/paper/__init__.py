"""IrEne (ACL 2021) as its code does it: regressors per primitive, recursive aggregation."""
