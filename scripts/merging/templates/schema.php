<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

/**
 * Makes what install.xml has and the database lacks.
 *
 * Earlier versions added tables and columns without a step that brings them to sites that ran already.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

/**
 * Adds the tables, columns and indexes of an install.xml that are missing. Takes nothing away and changes nothing.
 *
 * @param string $file the install.xml
 */
function local_manireports_merged_complete(string $file): void {
    global $DB;
    $dbman = $DB->get_manager();
    $xml = new xmldb_file($file);
    if (!$xml->fileExists() || !$xml->loadXMLStructure()) {
        throw new ddl_exception('ddlxmlfileerror', null, $file);
    }
    foreach ($xml->getStructure()->getTables() as $table) {
        if (!$dbman->table_exists($table)) {
            $dbman->create_table($table);
            continue;
        }
        foreach ($table->getFields() as $field) {
            if (!$dbman->field_exists($table, $field)) {
                local_manireports_merged_add_field($dbman, $table, $field);
            }
        }
        foreach (local_manireports_merged_indexes($table) as $index) {
            if (!$dbman->index_exists($table, $index)) {
                $dbman->add_index($table, $index);
            }
        }
    }
}

/**
 * Adds a column, also to a table that has rows.
 *
 * @param database_manager $dbman
 * @param xmldb_table $table
 * @param xmldb_field $field
 */
function local_manireports_merged_add_field(database_manager $dbman, xmldb_table $table, xmldb_field $field): void {
    global $DB;
    $needsvalue = $field->getNotNull() && $field->getDefault() === null && $DB->record_exists($table->getName(), []);
    if (!$needsvalue) {
        $dbman->add_field($table, $field);
        return;
    }
    $numeric = in_array($field->getType(), [XMLDB_TYPE_INTEGER, XMLDB_TYPE_NUMBER, XMLDB_TYPE_FLOAT]);
    $nullable = clone($field);
    $nullable->setNotNull(false);
    $dbman->add_field($table, $nullable);
    $DB->set_field($table->getName(), $field->getName(), $numeric ? 0 : '');
    $dbman->change_field_notnull($table, $field);
}

/**
 * The indexes of a table, those of its foreign and unique keys included.
 *
 * @param xmldb_table $table
 * @return xmldb_index[]
 */
function local_manireports_merged_indexes(xmldb_table $table): array {
    $indexes = $table->getIndexes();
    foreach ($table->getKeys() as $key) {
        $type = $key->getType();
        if ($type == XMLDB_KEY_PRIMARY) {
            continue;
        }
        $unique = $type == XMLDB_KEY_FOREIGN ? XMLDB_INDEX_NOTUNIQUE : XMLDB_INDEX_UNIQUE;
        $indexes[] = new xmldb_index($key->getName(), $unique, $key->getFields());
    }
    return $indexes;
}
