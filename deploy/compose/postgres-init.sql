-- A database a service: candela_user is made by POSTGRES_DB, the others here.
CREATE DATABASE candela_recognition OWNER candela;
