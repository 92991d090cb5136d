-- +goose Up
-- Pages have checksums from here on (package pagesum). A program that knows only earlier steps would write pages without, so it must refuse the database.
SELECT 1;
