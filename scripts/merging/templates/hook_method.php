    /**
     * What {{callback}} has to say.
     *
     * @param \core\hook\output\{{hook}} $hook
     */
    public static function {{hook}}(\core\hook\output\{{hook}} $hook): void {
        require_once(dirname(__DIR__, 2) . '/lib.php');
        $html = {{function}}();
        if (is_string($html) && $html !== '') {
            $hook->add_html($html);
        }
    }
