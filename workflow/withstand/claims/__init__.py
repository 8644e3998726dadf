"""The paper's claims, each as a test on the tables of a study (Bhojanapalli et al., ICCV 2021)."""
