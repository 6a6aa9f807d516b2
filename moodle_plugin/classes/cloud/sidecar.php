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

namespace local_manireports\cloud;

/**
 * What the sidecar says of itself: the one row of manireports_cloud_sidecar.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class sidecar {
    /** @var int seconds without a sign of life after which pages say that it is not there */
    private const SILENT_AFTER = 60;

    /** @var \stdClass|null the row, read once */
    private ?\stdClass $row;

    /**
     * Reads the row.
     */
    public function __construct() {
        global $DB;
        $rows = $DB->get_records('manireports_cloud_sidecar', null, 'id', '*', 0, 1);
        $this->row = $rows ? reset($rows) : null;
    }

    /**
     * Whether a sidecar leads this site now.
     */
    public function alive(): bool {
        return $this->row && $this->row->lease_token !== '' && $this->last_seen() > time() - self::SILENT_AFTER;
    }

    /**
     * When it last wrote, Unix seconds; 0: never.
     */
    public function last_seen(): int {
        return (int)($this->row->last_seen ?? 0);
    }

    /**
     * Its version; empty if it never ran.
     */
    public function version(): string {
        return $this->row->version ?? '';
    }

    /**
     * The host and process that leads.
     */
    public function instance(): string {
        return $this->row->instance ?? '';
    }

    /**
     * This site's random id; empty until it has one.
     */
    public function site_uid(): string {
        return $this->row->site_uid ?? '';
    }

    /**
     * What it tells pages: blocked (list of reasons), lock_doubts (list), troubles (company id => reason), paused (bool: everything is held).
     */
    public function state(): \stdClass {
        $state = json_decode($this->row->state ?? '{}');
        return $state instanceof \stdClass ? $state : new \stdClass();
    }
}
